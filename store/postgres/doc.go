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
// Locks are taken in one order, so that operations of accounts in one transaction end in no deadlock, whatever their order: the row of users first (FOR
// NO KEY UPDATE, which the rows that refer to it do not wait for), then what is the user's: his request by address, tokens, notices, devices, roles, the
// counter of his address; last the outbox and the audit log. The exceptions know no user yet: RequestReset and Register, which must not tell by their time
// whether there is one, lock what is the address's alone. In a transaction with others of the same address they come last. Whoever changes several
// users takes them in the order of their IDs.
//
// What is no UUID names no row: IDs of users, registrations and outbox rows are UUIDs in PostgreSQL, and text that does
// not spell one is answered as unknown, without asking. Text that PostgreSQL cannot hold (NUL, invalid UTF-8) is quoted.
//
// The package refuses URLs that are ambiguous about where the password ends, schemas of a newer sealq, and migrations
// that were edited after they ran. No error carries a password.
package postgres
