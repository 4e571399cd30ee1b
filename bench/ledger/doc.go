// Package ledger compares a job whose effect is a transaction: plain asynq with a transaction written by hand, and
// worker.HandleTx with the ledger of store/postgres. Redis and PostgreSQL are real, and both sides have the same number of
// slots and of connections. Each run's tasks stand in the queue before it begins; the time is from the server's start until
// the last job has returned. Run it with:
//
//	withservers go test -run '^$' -bench Table -benchtime 1x ./ledger
package ledger
