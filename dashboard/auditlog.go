package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sealq/sealq/audit"
)

const (
	// auditPerPage is how many entries of the audit log a page lists.
	auditPerPage = 100
	// chainTime is how long a page checks the chain for, unless it is asked to take longer.
	chainTime = 500 * time.Millisecond
)

// auditView is a page of the audit log.
type auditView struct {
	Actor, Action, Subject string
	Entries                []auditRow
	Next, First            string
	Chain                  string
	Broken, Unchecked      bool
	BrokenAt               int64
	Head, Anchor           string
	Longer                 string
}

// auditRow is one entry.
type auditRow struct {
	ID                     int64
	Position               string
	At                     moment
	Actor, Action, Subject string
	About                  string // the address of all that is about the same
	Detail                 []fact
	Broken                 bool
}

func (d *Dashboard) auditLog(v *visit) error {
	ctx, cancel := v.patient()
	defer cancel()
	query := v.r.URL.Query()
	q := audit.Query{Actor: query.Get("actor"), Action: query.Get("action"), Subject: query.Get("subject"), Before: max(number(query.Get("before")), 0)}
	links, err := d.cfg.Records.AuditPage(ctx, q, auditPerPage+1)
	if err != nil {
		return err
	}
	view := auditView{Actor: q.Actor, Action: q.Action, Subject: q.Subject}
	filter := url.Values{"actor": {q.Actor}, "action": {q.Action}, "subject": {q.Subject}}
	if q.Before > 0 {
		view.First = withQuery("/audit", filter)
	}
	if len(links) > auditPerPage {
		links = links[:auditPerPage]
		filter.Set("before", strconv.FormatInt(links[auditPerPage-1].ID, 10))
		view.Next = withQuery("/audit", filter)
	}
	longer := query.Get("check") == "all"
	if err := d.checkChain(ctx, &view, longer); err != nil {
		return err
	}
	filter.Set("check", "all")
	filter.Del("before")
	view.Longer = withQuery("/audit", filter)
	for _, l := range links {
		row := auditRow{
			ID: l.ID, Position: "not linked yet", At: d.at(l.Entry.At), Actor: label(l.Entry.Actor), Action: label(l.Entry.Action), Subject: label(l.Entry.Subject),
			About: withQuery("/audit", url.Values{"subject": {l.Entry.Subject}}), Detail: factsOf(l.Entry.Detail),
			Broken: view.Broken && l.Position > 0 && l.Position >= view.BrokenAt,
		}
		if l.Position > 0 {
			row.Position = strconv.FormatInt(l.Position, 10)
		}
		view.Entries = append(view.Entries, row)
	}
	return v.page(http.StatusOK, "audit", "Audit log", view)
}

// checkChain walks the chain for as long as a page may take, or longer where that was asked for.
func (d *Dashboard) checkChain(ctx context.Context, view *auditView, longer bool) error {
	anchor, err := d.cfg.Records.AuditAnchor(ctx)
	if err != nil {
		return err
	}
	if anchor.Position > 0 {
		view.Anchor = anchor.String()
	}
	checking, cancel := ctx, func() {}
	if !longer {
		checking, cancel = context.WithTimeout(ctx, chainTime)
	}
	defer cancel()
	head, err := audit.Verify(checking, d.cfg.Records, audit.Head{})
	broken, isBroken := errors.AsType[*audit.BrokenError](err)
	switch {
	case err == nil:
		view.Chain = fmt.Sprintf("The chain is whole: %s, each as it was linked.", plural(head.Position-anchor.Position, "link"))
		view.Head = head.String()
	case isBroken:
		view.Broken, view.BrokenAt = true, broken.Position
		view.Chain = clean(broken.Error(), maxError, false) + ". What stands before it is as it was linked; of what stands from there on nothing is known."
	case checking.Err() != nil:
		view.Unchecked = true
		view.Chain = fmt.Sprintf("The chain is long: whole up to position %d, and not looked at behind it.", head.Position)
	default:
		return err
	}
	return nil
}
