// Package sweep deletes what is due, from tables of any size, beside the work of others: in batches that commit by themselves, with a pause after
// each, one sweeper at a time, within a budget of time after which another job goes on.
//
// A sweep walks parts: each is one table, the oldest rows first. Stores know how ([Store]), and keep who sweeps and how far he is ([Desk]).
//
// What the package refuses: it decides nothing that anybody relies on. Logins and activations compare times themselves, whether a row was swept or not;
// and no part is given a row before its time, whatever the retention says (see [Retention]). It knows no database and no queue.
package sweep
