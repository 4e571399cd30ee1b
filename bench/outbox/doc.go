// Package outbox measures what recording a job costs an application: the rate at which 32 clients commit a transaction of
// their own to one PostgreSQL with fsync on, alone, with one more statement that does nothing, and with a job of 256 bytes,
// recorded by EnqueueTx, EnqueueBatch or sealq_enqueue. Run it with: go test -run '^$' -bench . -benchtime 1x ./outbox
package outbox
