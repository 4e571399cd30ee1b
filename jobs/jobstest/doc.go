// Package jobstest is for the tests of an app that uses sealq: it looks at the jobs that the app recorded, and runs
// the app's handlers on jobs as a worker would. It needs no Redis and no key ring.
//
//   - [RequireEnqueued], [RequireOneEnqueued] and [RequireNotEnqueued] look at what was recorded: in an [Outbox] in
//     memory, whatever the app's transactions are, or in a real database ([FromSQL]).
//   - A [Worker] runs one job at a time through all that stands between an outbox and a handler: the row is signed
//     with a throw-away key, travels through asynq, is verified, decoded strictly and handed to the handler under its
//     kind's policy. A [Clock] that the test moves says what time it is.
//   - A [Ledger] lets handlers of worker.HandleTx run in the test's own transaction.
//
// Arguments are compared, and given out, as a worker would decode them. The package asserts nothing about signatures
// themselves, and cannot say that a row in memory was committed: look into the database for that.
package jobstest
