// Package sqlite keeps sealq's tables in one SQLite file, through database/sql and modernc.org/sqlite (pure Go). It is
// meant for one machine: the demo, development, small deployments. Several processes of that machine may share the file.
//
// SQLite has one writer at a time, whatever the number of connections. Within a process writers queue in the order in
// which they came; between processes SQLite polls. Whoever has waited for 5 s gets [ErrBusy] and has changed nothing.
// So a method that takes no transaction must not be called while the same goroutine holds one open: it would wait for
// itself, and end in ErrBusy. Nor should a transaction last for as long as a password hash takes, which in a flood of logins is long:
// PrepareRegistration, PrepareReset and PrepareChange of package accounts hash before it begins. Readers never wait for a writer, nor a writer for them.
//
// A commit has reached the disk when it returns (WAL with synchronous=FULL): a confirmed registration or a finished
// effect survives a loss of power. A transaction of the application's own connection is as durable as that connection's
// settings make it. Times are SQLite's clock, in milliseconds.
//
// The package refuses databases in memory and files that are no SQLite database; Migrate and MigrationStatus refuse files
// that a newer sealq has migrated, and migrations that were edited after they ran.
package sqlite
