// Package jobs defines typed background jobs and puts them, signed, into asynq.
//
// A job's kind is declared once, as a value:
//
//	var Welcome = jobs.Define[WelcomeArgs]("mail:welcome", jobs.Policy{Queue: "mail", MaxAge: time.Hour})
//
// and enqueued in one of three ways, which differ in what survives a loss of Redis:
//
//   - [Enqueuer.Enqueue] signs and enqueues at once. What Redis loses is lost.
//   - [Outbox.EnqueueTx] records the job in the caller's own database transaction; the relay (jobs/relay)
//     signs and enqueues it, and enqueues it again when Redis loses it.
//   - [Wrap] signs what an app enqueues through its own asynq client.
//
// The package refuses to sign what it cannot decode: arguments are encoded and decoded strictly, and a row
// of the outbox is decoded before it is signed. It knows no database, sends no mail and runs no handler.
package jobs
