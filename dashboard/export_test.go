package dashboard

import "github.com/sealq/sealq/operators"

// Route is a row of the table of routes.
type Route struct {
	Pattern  string
	Open     bool           // nobody need be logged in
	Halfway  bool           // the password is enough
	Least    operators.Role // else
	Personal bool
	Changes  bool
}

// Routes is the table from which the mux is made.
func (d *Dashboard) Routes() []Route {
	var all []Route
	for _, rt := range d.routes() {
		all = append(all, Route{rt.pattern, rt.needs == anyone || rt.needs == nothing, rt.needs == halfway, rt.least, rt.personal, rt.changes})
	}
	return all
}

// Asks are the kinds of requests: what they are called, and who takes them.
func Asks() map[string]string {
	all := make(map[string]string)
	for _, a := range kindsOfRequests() {
		all[a.what] = a.takes
	}
	return all
}

// Clean is the function by which foreign text comes to a page.
func Clean(s string, most int, lines bool) string { return clean(s, most, lines) }

// Seen tells the watch what was seen.
func (d *Dashboard) Seen(what string) { d.watch.seen(what) }
