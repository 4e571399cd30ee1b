// Package quarantine bounds what is kept of refused tasks, and lets an operator release or purge it.
//
// An entry is one refused task, to the byte and undecoded. Two classes have a budget each, in entries and bytes: what nobody
// signed, which anybody who writes to the queue can make any number of, and what was signed and refused all the same, which
// only a key's holder can make. A flood of the first cannot displace the second.
//
// What the package refuses: it decodes no task that does not verify, and releases none ([Release] is no signing oracle for bytes
// that nobody signed); it drops nothing that was signed to make room; it releases nothing under an ID that was there before. It
// knows no database and no queue: stores implement its interfaces.
package quarantine
