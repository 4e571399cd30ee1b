package dashboard

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/sealq/sealq/audit"
)

// auditPerPage is how many entries of the audit log a page lists.
const auditPerPage = 100

// auditView is a page of the audit log.
type auditView struct {
	Actor, Action, Subject string
	Entries                []auditRow
	Next, First            string
	Chain                  chainView
	Again                  string // the address of this page
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
	if view.Chain, err = d.chainNow(ctx); err != nil {
		return err
	}
	view.Again = v.here()
	for _, l := range links {
		row := auditRow{
			ID: l.ID, Position: "not linked yet", At: d.at(l.Entry.At), Actor: label(l.Entry.Actor), Action: label(l.Entry.Action), Subject: label(l.Entry.Subject),
			About: withQuery("/audit", url.Values{"subject": {l.Entry.Subject}}), Detail: factsOf(l.Entry.Detail),
			Broken: view.Chain.Broken && l.Position > 0 && l.Position >= view.Chain.BrokenAt,
		}
		if l.Position > 0 {
			row.Position = strconv.FormatInt(l.Position, 10)
		}
		view.Entries = append(view.Entries, row)
	}
	return v.page(http.StatusOK, "audit", "Audit log", view)
}
