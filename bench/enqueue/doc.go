// Package enqueue compares the rate at which plain asynq, jobs.Enqueuer and jobs.Wrap put tasks of 256 bytes into
// one Redis, with the same options and the same number of goroutines. Run it with: go test -bench . ./enqueue
package enqueue
