// Package survival holds the tests of the outbox's path under harm, each with real processes, a real Redis and a real
// PostgreSQL: Redis flushed, restarted, failed over and written to by somebody hostile; relays, workers, schedulers and databases
// killed; connections cut, delayed and silent; clocks that differ. After each, every effect is in the database exactly once, every
// outbox row has ended, and no task is left in any active list. It refuses to look at less than that, and holds nothing but tests.
package survival
