// Package janitor keeps asynq's queues in such order that workers can work. asynq trusts what it reads in Redis: one value of
// the wrong type stops a queue, one undecodable message stops the recovery of all crashed tasks, and entries without a task
// stay in the active list for ever. A Janitor looks for such things in bounded steps, keeps the bytes of what it removes in
// quarantine, and brings back tasks whose worker is gone, sooner than asynq does. Any number may run side by side.
//
// It refuses to judge a task: signatures are the Verifier's to check. It removes a message only where no worker could take it
// for what its key says, compares it once more in the same step, and never loses one that decodes under its own name.
package janitor
