// Package scheduler turns the due times of schedules into ticks: rows of a database, each made once, together
// with the outbox row of its job. Any number of schedulers may run side by side, without a leader: the database
// decides who makes a tick. The package holds no key, signs nothing and runs no job.
package scheduler
