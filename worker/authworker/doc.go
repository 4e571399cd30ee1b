// Package authworker carries out the auth kinds of jobs/authjobs: it mails confirmations, links to new passwords and addresses, and
// notices to owners, answers what was asked for by an address, deletes registrations that nobody confirmed in time, and lifts lockouts whose time is over. It refuses to send a mail
// that has lost its reason, and it never changes an account otherwise: login and activation compare times themselves.
package authworker
