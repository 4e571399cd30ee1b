// Package outbox measures what recording a job costs an application: the rate at which 32 clients commit transactions of their
// own to one PostgreSQL with fsync on, alone, with one more statement that does nothing, and with a job of 256 bytes, recorded
// by EnqueueTx, in a transaction of pgx's and in one of postgres.Begin, which sends it with COMMIT, by EnqueueBatch or by
// sealq_enqueue. Three transactions stand for the application's:
//
//   - TPC-B is pgbench's own, the field's standard: three updates, a query and an insert. It is the one to judge by.
//   - A sign-up as an application does it that keeps its users itself: a query and two inserts.
//   - One INSERT is the least that a transaction can be, and so the worst case: whatever is added to it is as large as itself.
//
// Clients and server share the machine, as they seldom do elsewhere, and every statement costs both of them CPU time, also the one
// that does nothing. The columns of CPU time say what a job costs with less noise than the rates do; "1 ms away" is a network
// between the two.
package outbox
