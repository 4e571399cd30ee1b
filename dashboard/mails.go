package dashboard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/operators"
)

// Mails are what the pages ask of mails, and do about them. They need no key: a mail that is sent again is a row of the outbox, which a relay
// signs anew.
type Mails interface {
	MailReader
	Suppressions
	// Reissue queues a mail's outbox row as its next attempt, in actor's name; or says why not, by the errors of package jobs.
	Reissue(ctx context.Context, actor string, row jobs.RowInfo) error
}

// MailReader shows mails.
type MailReader interface {
	// RecentMails lists the mails that workers had first most lately, the newest first.
	RecentMails(ctx context.Context, limit int) ([]authjobs.MailGlance, error)
	// MailOf tells of the mail of an outbox row, or jobs.ErrNoSuchRow.
	MailOf(ctx context.Context, row string) (authjobs.MailHistory, error)
	// AttemptsOf lists the tries of a mail that are kept, the first of them first.
	AttemptsOf(ctx context.Context, mailID string) ([]authjobs.MailAttempt, error)
	// MailBacklog counts the unfinished mails by kind, queue and state, of up to limit rows that wait and up to limit that are enqueued; more says
	// that there may be others.
	MailBacklog(ctx context.Context, limit int) (backlog []jobs.Backlog, more bool, err error)
	// MailUse says what is used of the caps.
	MailUse(ctx context.Context) (authjobs.MailUse, error)
}

// Suppressions are the addresses to which nothing is sent.
type Suppressions interface {
	// Suppressions lists up to limit of them, the newest first.
	Suppressions(ctx context.Context, limit int) ([]authjobs.Suppression, error)
	// SuppressedUpTo says how many there are, up to that many.
	SuppressedUpTo(ctx context.Context, most int) (int64, error)
	// Unsuppress takes an address off the list in actor's name, or returns authjobs.ErrNotSuppressed.
	Unsuppress(ctx context.Context, actor string, email accounts.Email) error
}

const (
	// countedMails are those that the numbers are of.
	countedMails = 300
	// countedRows are how many unfinished rows are counted: a page must not take longer because a million wait.
	countedRows = 2000
	// countedSuppressions likewise.
	countedSuppressions = 10_000
	// shownMails are those that are listed.
	shownMails = 100
	// shownSuppressions likewise.
	shownSuppressions = 200
	// outageAfter is how many tries in a row that found no usable server make an outage, as the workers' breaker has it.
	outageAfter = 3
)

// mailsView is where mails stand.
type mailsView struct {
	State, Cause string
	Bad          bool
	Since        moment
	Caps         []capRow
	Waiting      []waitRow
	MoreWait     bool // than were counted
	Outcomes     []outcomeRow
	Counted      string
	Suppressed   string
	Mails        []mailRow
	More         bool
}

type capRow struct {
	Name, Used, Most string // Most is "" where no cap is known
	Full             bool
}

type waitRow struct{ Kind, State, Rows, Oldest string }

type outcomeRow struct {
	Outcome, Means, Mails string
	Bad                   bool
}

// mailRow is a mail in the list.
type mailRow struct {
	ID, Link, Kind, State, Outcome, Reply, Tries string
	First                                        moment
	Bad                                          bool
}

// means says in a sentence what an outcome means.
func means(o authjobs.MailOutcome) string {
	return map[authjobs.MailOutcome]string{
		authjobs.MailDelivered: "the mail server took it", authjobs.MailPermanent: "refused for good", authjobs.MailTemporary: "tried again by itself",
		authjobs.MailAmbiguous: "sent whole, and the answer was lost: there may be a second copy", authjobs.MailConfiguration: "the mail server cannot be used, whoever the recipient is",
		authjobs.MailWithdrawn: "not wanted any more", authjobs.MailError: "it did not come to the mail server, by our own fault",
		authjobs.MailSuppressed: "the address is suppressed", authjobs.MailLimited: "a limit has no room: it comes back by itself",
	}[o]
}

// outcomeOf is how a mail stands: taken, held, or as its last try ended.
func outcomeOf(g authjobs.MailGlance) authjobs.MailOutcome {
	switch {
	case !g.SentAt.IsZero():
		return authjobs.MailDelivered
	case g.HeldBy == authjobs.HeldBySuppressed:
		return authjobs.MailSuppressed
	case g.HeldBy != "":
		return authjobs.MailLimited
	}
	return g.Last.Outcome
}

func (d *Dashboard) mails(v *visit) error {
	if d.cfg.Mails == nil {
		return sorry("mails")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	d.watch.attend()
	all, err := d.cfg.Mails.RecentMails(ctx, countedMails)
	if err != nil {
		return err
	}
	backlog, more, err := d.cfg.Mails.MailBacklog(ctx, countedRows)
	if err != nil {
		return err
	}
	use, err := d.cfg.Mails.MailUse(ctx)
	if err != nil {
		return err
	}
	suppressed, err := d.cfg.Mails.SuppressedUpTo(ctx, countedSuppressions)
	if err != nil {
		return err
	}
	whole := v.who.role.May(operators.RoleOperator)
	view := mailsView{Counted: count(int64(len(all))), Suppressed: upTo(suppressed, countedSuppressions), MoreWait: more, Caps: caps(use, d.cfg.MailLimits), Outcomes: outcomes(all), More: len(all) > shownMails}
	d.mailState(&view, all, whole)
	for _, b := range backlog {
		view.Waiting = append(view.Waiting, waitRow{label(string(b.Kind)), label(string(b.State)), count(b.Rows), waited(b.Oldest)})
	}
	for _, g := range all[:min(len(all), shownMails)] {
		view.Mails = append(view.Mails, d.mailRow(g, whole))
	}
	return v.page(http.StatusOK, "mails", "Mail", view)
}

// upTo is a number that was counted up to most.
func upTo(n int64, most int) string {
	if n >= int64(most) {
		return count(n) + " or more"
	}
	return count(n)
}

func waited(d time.Duration) string {
	if d <= 0 {
		return "–"
	}
	return long(d)
}

// mailState tells from the tries whether the mail server can be used: each worker's breaker is its own, and /readyz of the worker says how it
// stands.
func (d *Dashboard) mailState(view *mailsView, all []authjobs.MailGlance, whole bool) {
	var tries []authjobs.MailAttempt
	for _, g := range all {
		if g.Last.Try > 0 && g.Last.Outcome != authjobs.MailWithdrawn { // which says nothing of the server
			tries = append(tries, g.Last)
		}
	}
	slices.SortFunc(tries, func(a, b authjobs.MailAttempt) int { return b.EndedAt.Compare(a.EndedAt) })
	away := 0
	for away < len(tries) && tries[away].Outcome == authjobs.MailConfiguration {
		away++
	}
	switch {
	case len(tries) == 0:
		view.State = "No mail was tried yet, as far as is recorded."
		return
	case away >= outageAfter:
		view.State, view.Bad = "The mail server cannot be used: workers leave it alone, and try it by one mail every now and then. Mails wait and are not lost.", true
	case away > 0:
		view.State, view.Bad = "The mail server could not be used lately. It is tried again.", true
	default:
		view.State = "The mail server answers."
		view.Since = d.at(tries[0].EndedAt)
		return
	}
	view.Since, view.Cause = d.at(tries[away-1].EndedAt), d.redact.cause(tries[0].Cause, whole)
}

// caps are what is used of the limits, and the limits where they are known.
func caps(use authjobs.MailUse, limits authjobs.MailLimits) []capRow {
	row := func(name string, used int64, most int) capRow {
		r := capRow{Name: name, Used: count(used)}
		if most > 0 {
			r.Most, r.Full = count(int64(most)), used >= int64(most)
		}
		return r
	}
	return []capRow{row("in 60 minutes", use.Hour, limits.Hourly), row("in 24 hours", use.Day, limits.Daily)}
}

// outcomes are the mails by how they stand, the most first.
func outcomes(all []authjobs.MailGlance) []outcomeRow {
	n := make(map[authjobs.MailOutcome]int64)
	for _, g := range all {
		n[outcomeOf(g)]++
	}
	known := slices.SortedFunc(maps.Keys(n), func(a, b authjobs.MailOutcome) int {
		if n[a] != n[b] {
			return int(n[b] - n[a])
		}
		return strings.Compare(string(a), string(b))
	})
	var rows []outcomeRow
	for _, o := range known {
		rows = append(rows, outcomeRow{shownOutcome(o), means(o), count(n[o]), badOutcome(o)})
	}
	return rows
}

func shownOutcome(o authjobs.MailOutcome) string {
	if o == "" {
		return "no word yet"
	}
	return label(string(o))
}

func badOutcome(o authjobs.MailOutcome) bool {
	return slices.Contains([]authjobs.MailOutcome{authjobs.MailPermanent, authjobs.MailAmbiguous, authjobs.MailConfiguration, authjobs.MailError}, o)
}

func (d *Dashboard) mailRow(g authjobs.MailGlance, whole bool) mailRow {
	o := outcomeOf(g)
	row := mailRow{
		ID: label(g.ID), Kind: label(string(g.Kind)), State: label(string(g.State)), Outcome: shownOutcome(o), Tries: fmt.Sprint(g.Tries),
		First: d.at(g.FirstTry), Bad: badOutcome(o), Reply: d.answered(g.Last, whole),
	}
	if g.Kind != "" {
		row.Link = linked(g.ID)
	}
	return row
}

// answered is what the mail server said, or what went wrong before it could.
func (d *Dashboard) answered(a authjobs.MailAttempt, whole bool) string {
	if a.SMTPCode == 0 {
		return d.redact.cause(a.Cause, whole)
	}
	return strings.TrimSpace(fmt.Sprint(a.SMTPCode, " ", d.redact.reply(a.SMTPReply, whole)))
}

// suppressionRow is an address to which nothing is sent.
type suppressionRow struct {
	Address, Form, Reason, Reply, Mail string
	Since                              moment
}

type suppressionsView struct {
	Rows   []suppressionRow
	All    string
	More   bool
	Hidden bool
	Said   string
}

func (d *Dashboard) suppressions(v *visit) error {
	if d.cfg.Mails == nil {
		return sorry("mails")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	found, err := d.cfg.Mails.Suppressions(ctx, shownSuppressions)
	if err != nil {
		return err
	}
	n, err := d.cfg.Mails.SuppressedUpTo(ctx, countedSuppressions)
	if err != nil {
		return err
	}
	whole := v.who.role.May(operators.RoleOperator)
	view := suppressionsView{All: upTo(n, countedSuppressions), More: n > int64(len(found)), Hidden: !whole}
	if v.r.URL.Query().Get("did") == "remove" {
		view.Said = "Mails go to it again. Those that were not sent meanwhile are not sent now: have them asked for again."
	}
	for _, s := range found {
		row := suppressionRow{
			Address: d.redact.address(s.Address, whole), Reason: label(s.Reason), Mail: linked(s.MailID), Since: d.at(s.Since),
			Reply: strings.TrimSpace(fmt.Sprint(s.SMTPCode, " ", d.redact.reply(s.SMTPReply, whole))),
		}
		if whole {
			row.Form = formed(s.Address)
		}
		view.Rows = append(view.Rows, row)
	}
	return v.page(http.StatusOK, "suppressions", "Suppressed addresses", view)
}

// unsuppress takes an address off the list. Change and entry commit together.
func (d *Dashboard) unsuppress(v *visit) error {
	if d.cfg.Mails == nil {
		return sorry("mails")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	email, err := accounts.ParseEmail(named(v.r.PostFormValue("address")))
	if err != nil {
		return refuse(http.StatusBadRequest, "No address", "That is no address.")
	}
	yes, err := v.sure(confirmView{
		Ask: fmt.Sprintf("Take %s off the list?", label(email.Given())),
		Radius: []string{
			"Mails go to it again. If the server refuses it again, it is suppressed again.",
			"A server that is asked again and again for a mailbox that it does not have takes its sender for a spammer.",
		},
		Button: "Take it off the list", Back: "/suppressions",
	})
	if !yes {
		return err
	}
	err = d.cfg.Mails.Unsuppress(ctx, v.who.name, email)
	if errors.Is(err, authjobs.ErrNotSuppressed) {
		return refuse(http.StatusNotFound, "Not suppressed", "It is not on the list, or no more.")
	}
	if err != nil {
		return err
	}
	return v.back("/suppressions", nil, "remove")
}
