package mail

import (
	"slices"
	"strings"
	"time"
)

// Kind names a mail, and the folder of its templates.
type Kind string

// The kinds.
const (
	KindConfirmation    Kind = "confirmation"     // to confirm the address of a registration
	KindPasswordReset   Kind = "password_reset"   // with the link under which a new password is set
	KindPasswordChanged Kind = "password_changed" // that the password was changed
	KindEmailChange     Kind = "email_change"     // to the new address, with the link that confirms it
	KindEmailNotice     Kind = "email_notice"     // to the old address, that it is to change, or has
	KindAccountExists   Kind = "account_exists"   // that somebody registered the address again
	KindLockoutNotice   Kind = "lockout_notice"   // that the account was locked
)

// Kinds are all kinds, in the order of an account's life.
func Kinds() []Kind {
	return []Kind{
		KindConfirmation, KindAccountExists, KindPasswordReset, KindPasswordChanged, KindEmailChange, KindEmailNotice, KindLockoutNotice,
	}
}

// Variables are what the templates of the kind may name.
func (k Kind) Variables() []string {
	switch {
	case k.linked():
		return []string{"Product", "Link", "ExpiresAt"}
	case k == KindEmailNotice:
		return []string{"Product", "Link", "At", "Address", "Done"}
	}
	return []string{"Product", "Link", "At"}
}

// LayoutVariables are what a layout may name.
func LayoutVariables() []string {
	return []string{"Product", "Link", "Subject", "Preheader", "Language", "Direction"}
}

// linked says whether the mail is about its link.
func (k Kind) linked() bool {
	return slices.Contains([]Kind{KindConfirmation, KindPasswordReset, KindEmailChange}, k)
}

// sample is data to try the kind with.
func (k Kind) sample() AccountData {
	at := time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)
	d := AccountData{Product: "Example", Link: "https://app.example.com"}
	if k.linked() {
		d.Link, d.ExpiresAt = "https://app.example.com/page?key="+SampleKey, at
	} else {
		d.At = at
	}
	if k == KindEmailNotice {
		d.Address = "n***@example.org"
	}
	return d
}

// samples are what the kind is tried with: what is usual, and what people call themselves to see what happens.
func (k Kind) samples() []AccountData {
	usual := k.sample()
	hostile := usual
	hostile.Product = `<b>"O'Neil" & ` + "\u202eSöhne\u2066 שלום {{.Link}} </title></style><img src=//x>" + `</b>`
	hostile.Link = "https://app.example.com/page?key=a-b_c&to=%22%3E%3Cb%3E"
	long := usual
	long.Product = strings.TrimSpace(strings.Repeat("Größenwahn ", 15))
	all := []AccountData{usual, hostile, long}
	if k == KindEmailNotice {
		hostile.Address, hostile.Done, usual.Done = "\u202en***@<i>example.org", true, true
		all = append(all, usual, hostile)
	}
	return all
}

// values are what the templates see.
func (k Kind) values(d AccountData) map[string]any {
	all := map[string]any{
		"Product": plain(d.Product), "Link": d.Link, "ExpiresAt": d.ExpiresAt, "At": d.At, "Address": plain(d.Address), "Done": d.Done,
	}
	values := make(map[string]any)
	for _, name := range k.Variables() {
		values[name] = all[name]
	}
	return values
}
