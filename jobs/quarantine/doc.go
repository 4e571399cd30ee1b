// Package quarantine bounds what is kept of refused tasks, and lets an operator release or purge it.
//
// An entry is one refused task, to the byte and undecoded. Three classes have a budget each, in entries and bytes: what nobody
// signed, which anybody who writes to the queue can make any number of; what was signed, and refused for where or when it came,
// which he can bring about by copying a genuine task or holding it back; and what was signed, and refused for what its signer
// wrote, which only a key's holder can make. A flood of one displaces nothing of another.
//
// What the package refuses: it decodes no task that does not verify, and releases none ([Release] is no signing oracle for bytes
// that nobody signed); it drops no entry to make room; it releases nothing under an ID that was there before. It
// knows no database and no queue: stores implement its interfaces.
package quarantine
