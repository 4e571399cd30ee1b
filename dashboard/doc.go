// Package dashboard is the operators' pages: what is wrong now, and one safe thing to do about it. The pages are made here, are
// readable without JavaScript, and change nothing but by a button that a person presses.
//
// It holds no secret and knows no key: whether a task is genuine a [Judge] says, and without one the pages say "not judged here". It
// decodes nothing that did not verify. Whatever Redis or the database holds may have been written by an attacker: every text goes
// through one function that cuts it and makes visible what could deceive, and every page is escaped by its template.
//
// Who may do what stands in one table of routes, which one function reads. Nothing but the login is answered to whom
// [operators.Operators] does not let in.
package dashboard
