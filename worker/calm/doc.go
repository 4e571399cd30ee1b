// Package calm stands between asynq and its Redis and closes faults of asynq (v0.26.0) from outside, without a
// fork. A Hook, added to the go-redis client that an asynq server or client is made of, sees to it that
//
//   - asynq never gets a message that does not decode, or that names another task or queue than the list that it
//     was fetched from: asynq ends tasks by the ID in the message, so that refusing a copy would delete the genuine
//     task; what is no task of its queue goes to Config.Stray;
//   - a task that succeeded is recorded as ended although Redis was away for a moment: asynq's own retries of that use a
//     context that is over, so that the task would run again a minute later;
//   - fetching waits, longer and longer, while Redis does not answer: asynq asks again at once, on a whole processor;
//   - a queue is known to asynq's Inspector again after somebody emptied Redis: asynq's client names it once.
//
// A Fetcher fetches for several asynq servers in one process, many tasks in one trip, polls with one of them, and lets tasks that
// end at the same time share a trip.
//
// The package recognises asynq's scripts by their hashes and refuses to fetch with a version of asynq whose dequeue
// script it does not know. It verifies no signature and knows no job; it does not import asynq.
package calm
