// Package scheduler measures how late ticks are made, and at what cost, by one scheduler and by two side by side, on a PostgreSQL
// with fsync on that shares the machine with them:
//
//   - spread: 1,000 schedules, each due once a minute, at instants 60 ms apart. A tick's delay is from its due time until its
//     transaction was committed, by the scheduler's account, which reckons by the database's clock.
//   - at once: 1,000 schedules due at one instant. Its time is from that instant until another connection sees all of their jobs
//     in the outbox, by the database's clock.
package scheduler
