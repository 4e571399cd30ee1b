// Package dashboard measures how long every page of `sealq dashboard` takes, over a real Redis and a real PostgreSQL that hold 1,000,000 tasks in 20 queues, 100,000
// refused tasks, and the rows that belong to so many: users, jobs, mails, entries of the audit log, ticks. The program is the one that is
// deployed, with keys, and makes the checks of `sealq doctor` meanwhile. What is asked for comes from the dashboard's own table of routes: a page that is not asked for
// here fails the benchmark. A time is from the request until the last byte, over loopback.
//
// SEALQ_BENCH_TASKS, SEALQ_BENCH_REFUSED and SEALQ_BENCH_REQUESTS (of each page) make it smaller.
package dashboard
