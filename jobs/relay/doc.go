// Package relay moves work from the outbox into asynq and keeps it there. A relay claims queued rows of the kinds that it
// knows under a lease, checks and signs each with the key that is active now, and enqueues them in their order, a batch in one
// trip; rows of a queue that is full or takes no tasks stay in the outbox, and hold up no other. A reconciler looks after rows
// that should have been done by now and restores those that Redis has lost. Any number may run side by side.
// It refuses to sign a row that does not decode as its kind, and it completes no row: the worker does, in the
// transaction of the effect. It watches itself and tells in Stats; it knows no metrics system.
package relay
