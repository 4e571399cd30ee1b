// Package worker stands between asynq and an app's handlers. A Verifier checks each task's signature before a
// byte of its payload is decoded, puts what it refuses into quarantine, and hands on only what verified; it
// works alone, around any asynq.Handler. Handlers dispatches verified tasks to typed handlers and sees to it,
// with a Ledger, that each effect happens once.
//
// The package refuses to run a handler on anything that did not verify, with one exception that has an end: an
// app that is being moved over may let unsigned tasks pass until a date (Config.UnsignedUntil). It knows no
// database: ledger, outbox and quarantine are interfaces that stores implement.
package worker
