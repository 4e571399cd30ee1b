// Package postgres keeps sealq's tables in PostgreSQL 15 or later, through pgx: the outbox with its relay, the ledger,
// the quarantine, mails, schedules, the wrapped key ring with what processes report of theirs, leases, and what package
// accounts stores.
//
// Transactions are pgx.Tx, of this package's pool or of the application's own; in those that Begin begins, jobs travel with
// COMMIT. Every statement runs in READ COMMITTED,
// which conflicts and locks here are written for; a caller's stricter transaction works, but may end in a serialization
// error. The database's clock decides (statement_timestamp(): now() stands still in a long transaction). Tables are
// looked for in the connection's search_path, so postgres://…?search_path=sealq keeps them apart from an application's.
//
// What is no UUID names no row: IDs of users, registrations and outbox rows are UUIDs in PostgreSQL, and text that does
// not spell one is answered as unknown, without asking. Text that PostgreSQL cannot hold (NUL, invalid UTF-8) is quoted.
//
// The package refuses URLs that are ambiguous about where the password ends, schemas of a newer sealq, and migrations
// that were edited after they ran. No error carries a password.
package postgres
