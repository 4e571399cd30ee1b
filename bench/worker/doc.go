// Package worker compares how fast no-op jobs of 256 bytes are worked off by plain asynq, by asynq behind a worker.Verifier, by a
// worker.Server, and by River on PostgreSQL: over loopback and with a millisecond between the worker and Redis. It measures how soon
// an idle worker picks a job up and what its polling costs Redis, and how honest jobs fare in a flood of forged ones.
package worker
