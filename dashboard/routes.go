package dashboard

import (
	"net/http"

	"github.com/sealq/sealq/operators"
)

// needs is what a route wants to know of its visitor.
type needs int

const (
	anyRole needs = iota // that he is in, and may what least says
	anyone               // who he is, if he is anybody
	halfway              // that his password was right
	nothing              // not even that: it is served while no database answers
)

// route is one row of the table by which everything is served.
type route struct {
	pattern  string
	needs    needs
	least    operators.Role // where needs is anyRole
	personal bool           // for people: not for keys of scripts
	changes  bool           // refused by Config.ReadOnly
	lasts    bool           // it has no end of its own
	steady   bool           // a key that was good lately is good here while the database does not answer
	serve    func(*visit) error
}

// routes is the table. Nothing is served that does not stand here.
func (d *Dashboard) routes() []route {
	const viewer, operator = operators.RoleViewer, operators.RoleOperator
	return []route{
		{pattern: "GET /assets/{file}", needs: nothing, serve: asset},
		{pattern: "GET /login", needs: anyone, serve: d.loginPage},
		{pattern: "POST /login", needs: anyone, serve: d.login},
		{pattern: "POST /theme", needs: anyone, serve: d.theme},
		{pattern: "GET /login/code", needs: halfway, personal: true, serve: d.codePage},
		{pattern: "POST /login/code", needs: halfway, personal: true, serve: d.code},
		{pattern: "POST /login/enrol", needs: halfway, personal: true, serve: d.enrol},
		{pattern: "POST /logout", needs: halfway, personal: true, serve: d.logout},

		{pattern: "GET /{$}", least: viewer, serve: d.now},
		{pattern: "GET /live", least: viewer, lasts: true, serve: d.live},
		{pattern: "GET /metrics", least: viewer, steady: true, serve: d.metrics},
		{pattern: "GET /runbooks/{name}", least: viewer, serve: d.runbook},
		{pattern: "GET /queue", least: viewer, serve: d.queue},
		{pattern: "GET /task", least: viewer, serve: d.task},
		{pattern: "GET /find", least: viewer, serve: d.find},
		{pattern: "POST /find", least: viewer, serve: d.find},
		{pattern: "GET /servers", least: viewer, serve: d.servers},
		{pattern: "POST /task/reveal", least: operator, changes: true, serve: d.reveal},
		{pattern: "POST /tasks", least: operator, changes: true, serve: d.actOnTasks},
		{pattern: "POST /queue", least: operator, changes: true, serve: d.actOnQueue},

		{pattern: "GET /quarantine", least: viewer, serve: d.quarantine},
		{pattern: "GET /quarantine/entry", least: viewer, serve: d.entry},
		{pattern: "POST /quarantine/reveal", least: operator, changes: true, serve: d.revealEntry},
		{pattern: "POST /quarantine", least: operator, changes: true, serve: d.actOnQuarantine},
		{pattern: "GET /requests", least: viewer, serve: d.requests},
		{pattern: "GET /audit", least: operator, serve: d.auditLog},
		{pattern: "GET /keys", least: viewer, serve: d.keys},
		{pattern: "POST /keys", least: operators.RoleAdmin, changes: true, serve: d.actOnKeys},
		{pattern: "GET /schedules", least: viewer, serve: d.schedules},
		{pattern: "GET /schedule", least: viewer, serve: d.schedule},
		{pattern: "POST /schedule", least: operator, changes: true, serve: d.actOnSchedule},
		{pattern: "GET /accounts", least: viewer, serve: d.people},
		{pattern: "POST /accounts", least: viewer, serve: d.ask},
		{pattern: "POST /accounts/lock", least: operator, changes: true, serve: d.actOnAccount},
		{pattern: "GET /mails", least: viewer, serve: d.mails},
		{pattern: "GET /mail", least: viewer, serve: d.mail},
		{pattern: "POST /mail", least: operator, changes: true, serve: d.sendAgain},
		{pattern: "GET /suppressions", least: viewer, serve: d.suppressions},
		{pattern: "POST /suppressions", least: operator, changes: true, serve: d.unsuppress},

		{pattern: "GET /account", least: viewer, personal: true, serve: d.account},
		{pattern: "POST /account/sessions/end", least: viewer, personal: true, serve: d.endSession},
		{pattern: "POST /account/enrol", least: viewer, personal: true, changes: true, serve: d.enrol},
		{pattern: "GET /account/enrol", least: viewer, personal: true, serve: d.enrolPage},
		{pattern: "POST /account/keys", least: viewer, personal: true, changes: true, serve: d.makeKey},
		{pattern: "POST /account/keys/revoke", least: viewer, personal: true, serve: d.revokeKey},
		{pattern: "GET /operators", least: operators.RoleAdmin, serve: d.operators},

		{pattern: "/", least: viewer, serve: notFound},
	}
}

// Patterns are those of everything that a Dashboard serves, as package net/http has them, for whoever measures or guards all of it.
func Patterns() []string {
	var all []string
	for _, rt := range (&Dashboard{}).routes() {
		all = append(all, rt.pattern)
	}
	return all
}

func asset(v *visit) error {
	v.Header().Set("Cache-Control", "public, max-age=300")
	http.FileServerFS(assets).ServeHTTP(v, v.r)
	return nil
}

func (d *Dashboard) metrics(v *visit) error {
	if d.cfg.Metrics == nil {
		return notFound(v)
	}
	d.cfg.Metrics.ServeHTTP(v.ResponseWriter, v.r)
	return nil
}

func notFound(v *visit) error {
	return refuse(http.StatusNotFound, "Not found", "There is no such page.")
}
