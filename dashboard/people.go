package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/operators"
)

// Accounts are what the pages ask of the app's accounts, and do with them. They need no key.
type Accounts interface {
	// Explain tells what happened to an address, or to the ID of a registration, user, outbox row or task, or a Message-ID, as `sealq explain`
	// does; ErrUnknown where nothing is known of it.
	Explain(ctx context.Context, asked string) (Story, error)
	// AccountAddress returns the normalised address of a registration or user, or accounts.ErrNoSuchUser.
	AccountAddress(ctx context.Context, id string) (emailNorm string, err error)
	// SetLock locks an address for so long in actor's name, or unlocks it where length is 0.
	SetLock(ctx context.Context, actor, email string, length time.Duration) error
}

// ErrUnknown means that nothing is known of what was asked for.
var ErrUnknown = errors.New("nothing is known of it")

// Story is what happened to one person's account and mails.
type Story struct {
	Email     string            // as it was given, "" where it is not known
	Status    accounts.Standing // of the account
	AccountID string            // "" where there is none
	Locked    bool
	Redis     string // answered, not needed, or why it did not answer
	Steps     []Step
	Missing   string // the first step that is missing, "" for none
	Advice    string // what to do; what stands in backticks is a command
}

// Step is something that happened.
type Step struct {
	At        time.Time // zero: it is not recorded when
	Step      string
	Text      string
	Row       string // of the outbox
	MessageID string
}

// storyView is a Story as its reader may see it.
type storyView struct {
	Asked     string // as it is shown in the form, "" for an address: it would be there for whoever comes to this browser next
	Found     bool
	ID        string // of the account
	Form      string // the account's ID, or else the address, in the forms; "" where nothing can be done
	ByAddress bool   // Form is an address
	Email     string
	Status    string
	Locked    bool
	Redis     string // "" where it is no matter
	Steps     []stepRow
	Missing   string
	Advice    []span
	Hidden    bool // addresses are
	Said      string
	Loose     bool // there is no link to this page
}

type stepRow struct {
	At         moment
	Step, Text string
	Row        string // of a mail that has a page
	Missing    bool
}

// maxAsked bounds what is asked for, in bytes: an address has 254 at most, a Message-ID 998.
const maxAsked = 1 << 10

// lockLengths are how long somebody may be locked here.
func lockLengths() map[string]time.Duration {
	return map[string]time.Duration{"15m": 15 * time.Minute, "1h": time.Hour, "24h": 24 * time.Hour, "168h": 7 * 24 * time.Hour}
}

// people shows the form, and the story of an ID. An address is no part of an address of these pages: proxies, browsers and logs keep those.
func (d *Dashboard) people(v *visit) error {
	if d.cfg.Accounts == nil {
		return sorry("accounts")
	}
	query := v.r.URL.Query()
	id := query.Get("id")
	switch {
	case id == "":
		return v.page(http.StatusOK, "accounts", "Accounts", storyView{})
	case strings.Contains(id, "@"):
		return refuse(http.StatusBadRequest, "Not in a link", "Addresses and Message-IDs are asked for in the form alone: links are kept by proxies, browsers and logs. Go to the page Accounts.")
	}
	said := map[string]string{"lock": "Locked. Of two locks the longer stands.", "unlock": "Unlocked, and its failures are forgotten."}[query.Get("did")]
	return d.tell(v, id, said)
}

// ask looks for whatever the form names, and leads to the page that has a link, if there is one.
func (d *Dashboard) ask(v *visit) error {
	if d.cfg.Accounts == nil {
		return sorry("accounts")
	}
	asked := strings.TrimSpace(v.r.PostFormValue("asked"))
	if asked == "" {
		return v.back("/accounts", nil, "")
	}
	if !strings.Contains(asked, "@") {
		http.Redirect(v, v.r, "/accounts?"+url.Values{"id": {asked}}.Encode(), http.StatusSeeOther)
		return nil
	}
	return d.tell(v, asked, "")
}

// tell shows a story. One of an address that has an account leads on to the account's link.
func (d *Dashboard) tell(v *visit, asked, said string) error {
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	view := storyView{Said: said}
	if !strings.Contains(asked, "@") {
		view.Asked = clean(asked, maxAsked, false)
	}
	var story Story
	err := ErrUnknown
	if len(asked) <= maxAsked {
		story, err = d.cfg.Accounts.Explain(ctx, asked)
	}
	switch {
	case errors.Is(err, ErrUnknown):
		return v.page(http.StatusNotFound, "accounts", "Accounts", view.unknown(strings.Contains(asked, "@")))
	case err != nil:
		return err
	}
	if strings.Contains(asked, "@") && said == "" {
		if id := story.link(asked); id != "" {
			http.Redirect(v, v.r, "/accounts?"+url.Values{"id": {id}}.Encode(), http.StatusSeeOther)
			return nil
		}
	}
	d.fillStory(&view, story, v.who.role.May(operators.RoleOperator))
	view.Loose = strings.Contains(asked, "@")
	return v.page(http.StatusOK, "accounts", "Accounts", view)
}

func (view storyView) unknown(address bool) storyView {
	view.Said = "Nothing is known of it: there is no account, registration, outbox row or mail. A registration that expired is deleted soon, and its address with it."
	if address {
		view.Said += " Was the address typed as it was registered? Ask with the ID that the app logged, or have it registered again."
	}
	return view
}

// link is an ID by which the same story is told: of the mail whose Message-ID was asked for, or of the account.
func (s Story) link(asked string) string {
	asked = strings.TrimSuffix(strings.TrimPrefix(asked, "<"), ">")
	for _, step := range s.Steps {
		if step.MessageID == asked && step.Row != "" {
			return linked(step.Row)
		}
	}
	return linked(s.AccountID)
}

// fillStory makes a story fit to be shown. whole shows addresses.
func (d *Dashboard) fillStory(view *storyView, s Story, whole bool) {
	shown := func(text string, most int) string { return d.redact.shown(text, s.Email, most, whole) }
	view.Found, view.ID, view.Email, view.Status, view.Locked, view.Hidden = true, label(s.AccountID), shown(s.Email, maxError), label(string(s.Status)), s.Locked, !whole
	view.Missing, view.Advice = label(s.Missing), spans(shown(s.Advice, maxBlock))
	if s.Redis != "answered" && s.Redis != "not needed" {
		view.Redis = shown(s.Redis, maxError)
	}
	if whole && s.Email != "" {
		view.Form, view.ByAddress = formed(s.Email), true
		if s.AccountID != "" {
			view.Form, view.ByAddress = formed(s.AccountID), false
		}
	}
	for _, step := range s.Steps {
		view.Steps = append(view.Steps, stepRow{At: d.at(step.At), Step: label(step.Step), Text: shown(step.Text, maxError), Row: linked(step.Row)})
	}
}

// actOnAccount locks an address, or unlocks it. Change and entry commit together.
func (d *Dashboard) actOnAccount(v *visit) error {
	if d.cfg.Accounts == nil {
		return sorry("accounts")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	id, email, do := named(v.r.PostFormValue("id")), named(v.r.PostFormValue("email")), v.r.PostFormValue("do")
	length, known := lockLengths()[v.r.PostFormValue("for")]
	switch {
	case do != "lock" && do != "unlock":
		return refuse(http.StatusBadRequest, "No such thing", "An address can be locked and unlocked.")
	case do == "lock" && !known:
		return refuse(http.StatusBadRequest, "No such time", "It can be locked for 15 minutes, an hour, a day or a week; for others there is sealq accounts lock.")
	case do == "unlock":
		length = 0
	}
	back := "/accounts"
	if id != "" {
		var err error
		if email, err = d.cfg.Accounts.AccountAddress(ctx, id); errors.Is(err, accounts.ErrNoSuchUser) {
			return refuse(http.StatusNotFound, "No such account", "It is there no more.")
		} else if err != nil {
			return err
		}
		back += "?" + url.Values{"id": {id}}.Encode()
	}
	address, err := accounts.ParseEmail(email)
	if err != nil {
		return refuse(http.StatusBadRequest, "No address", "That is no address.")
	}
	ask := confirmView{
		Ask:    fmt.Sprintf("Unlock %s?", label(address.Given())),
		Radius: []string{"Whatever lock it has is lifted, and its failures are forgotten."}, Button: "Unlock it", Back: back,
	}
	if do == "lock" {
		ask.Ask, ask.Button, ask.Danger = fmt.Sprintf("Lock %s for %s?", label(address.Given()), long(length)), "Lock it", true
		ask.Radius = []string{
			"Every login fails as with a wrong password, and a new password does not lift it.",
			"Sessions go on: sealq accounts disable ends them.",
		}
	}
	if yes, err := v.sure(ask); !yes {
		return err
	}
	if err := d.cfg.Accounts.SetLock(ctx, v.who.name, address.Given(), length); err != nil {
		return err
	}
	if id != "" {
		return v.back("/accounts", url.Values{"id": {id}}, do)
	}
	return d.tell(v, address.Given(), map[string]string{"lock": "Locked. Of two locks the longer stands.", "unlock": "Unlocked, and its failures are forgotten."}[do])
}
