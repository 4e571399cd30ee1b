// Package enqueue compares the rate at which plain asynq, jobs.Enqueuer and jobs.Wrap put tasks into one Redis. Each way
// does all that an app does to get the same result: it encodes the same arguments (256 bytes of JSON), draws an ID of the
// same kind, and names the same queue, retries and deadline. Run it with:
//
//	withservers go test -run '^$' -bench Table -benchtime 1x ./enqueue
package enqueue
