// Package relay measures at which rate a relay moves rows of 256 bytes from PostgreSQL into Redis: beside asynq's client
// alone, which reads no database, and beside a relay that enqueues row by row; on one machine and with a millisecond of round
// trip to both servers. Run it with: go test -bench . ./relay
package relay
