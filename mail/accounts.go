package mail

import (
	"errors"
	"io/fs"
	"time"
)

// Kind names a mail to the owner of an account, and the folder of its templates.
type Kind string

// The kinds beside the confirmation.
const (
	KindPasswordReset   Kind = "password_reset"   // with the link under which a new password is set
	KindPasswordChanged Kind = "password_changed" // that the password was changed
	KindEmailChange     Kind = "email_change"     // to the new address, with the link that confirms it
	KindEmailNotice     Kind = "email_notice"     // to the old address, that it is to change, or has
	KindAccountExists   Kind = "account_exists"   // that somebody registered the address again
	KindLockoutNotice   Kind = "lockout_notice"   // that the account was locked
)

// AccountData is what the templates of those kinds may name.
type AccountData struct {
	Product   string    // the application's name, one line
	Link      string    // absolute http or https URL: what the mail is about, or, in a notice, the app
	ExpiresAt time.Time // of a mail with a link: when it stops working; the templates write it in UTC
	At        time.Time // of a notice: when it happened
	Address   string    // of email_notice: the new address, in a form that gives little away
	Done      bool      // of email_notice: the new address has been confirmed
}

// accountSamples are the kinds and the data that each is tried with.
func accountSamples() map[Kind][]AccountData {
	at := time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)
	link := AccountData{Product: "Example", Link: "https://example.com/reset?key=a-b_c", ExpiresAt: at}
	notice := AccountData{Product: "Example", Link: "https://example.com", At: at}
	asked, done := notice, notice
	asked.Address, done.Address, done.Done = "n***@example.org", "n***@example.org", true
	return map[Kind][]AccountData{
		KindPasswordReset: {link}, KindEmailChange: {link},
		KindPasswordChanged: {notice}, KindAccountExists: {notice}, KindLockoutNotice: {notice},
		KindEmailNotice: {asked, done},
	}
}

// parseAccounts reads the kinds that the folder has, and takes the package's own templates for the others.
func parseAccounts(folder fs.FS) (map[Kind]templateSet, error) {
	sets := make(map[Kind]templateSet)
	for kind, samples := range accountSamples() {
		from := folder
		if _, err := fs.Stat(folder, string(kind)); errors.Is(err, fs.ErrNotExist) {
			own, err := fs.Sub(builtin, "templates")
			if err != nil {
				return nil, &TemplateError{string(kind), partSubject, err}
			}
			from = own
		}
		set, err := parseSet(from, string(kind))
		if err != nil {
			return nil, err
		}
		for _, sample := range samples {
			link := ""
			if !sample.ExpiresAt.IsZero() {
				link = sample.Link
			}
			if err := set.try(sample, link); err != nil {
				return nil, err
			}
		}
		sets[kind] = set
	}
	return sets, nil
}

// Account renders a mail to the owner of an account.
func (t *Templates) Account(kind Kind, d AccountData) (Content, error) {
	set, ok := t.accounts[kind]
	if !ok {
		return Content{}, &TemplateError{string(kind), partSubject, errors.New("there is no such kind")}
	}
	if err := d.check(kind); err != nil {
		return Content{}, err
	}
	return set.render(d)
}

func (d AccountData) check(kind Kind) error {
	if err := checkData(string(kind), d.Product, d.Link); err != nil {
		return err
	}
	problem := func(field, text string) error {
		return &TemplateError{Kind: string(kind), Part: field, Cause: errors.New(text)}
	}
	linked := kind == KindPasswordReset || kind == KindEmailChange
	switch {
	case linked && d.ExpiresAt.IsZero():
		return problem("ExpiresAt", "is missing")
	case !linked && d.At.IsZero():
		return problem("At", "is missing")
	case kind == KindEmailNotice && (d.Address == "" || hasControl(d.Address)):
		return problem("Address", "is empty, or more than one line")
	}
	return nil
}
