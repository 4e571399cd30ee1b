package loadtest

import (
	"slices"
	"time"
)

// Stage of a run.
type Stage string

// The stages. Three are the database's.
const (
	StageEnqueue        Stage = "enqueue"
	StageWork           Stage = "work"
	StagePickUp         Stage = "pick up"
	StageRecord         Stage = "record"
	StageRelayAndWork   Stage = "relay and work"
	StageRecordToEffect Stage = "record to effect"
	StageRemove         Stage = "remove"
)

// Report is what was measured.
type Report struct {
	Queue        string `json:"queue"`
	Jobs         int    `json:"jobs"`
	Concurrency  int    `json:"concurrency"`
	PayloadBytes int    `json:"payload_bytes"`
	// Enqueue is jobs.Enqueuer's: a call makes the job, signs it and puts it into Redis.
	Enqueue Calls `json:"enqueue"`
	// Work is a worker.Server's that verifies each job and runs a handler which does nothing.
	Work Rate `json:"work"`
	// PickUp is from the call that enqueues a job to its handler, at a worker that has nothing else to do.
	PickUp Waits `json:"pick_up"`
	// Record is of transactions that record one job in the outbox each. Nil: no database was measured.
	Record *Calls `json:"record"`
	// RelayAndWork is from outbox rows to effects that are committed with ledger and row.
	RelayAndWork *Rate `json:"relay_and_work"`
	// RecordToEffect is from the beginning of a transaction that records a job to the commit of the job's effect.
	RecordToEffect *Waits `json:"record_to_effect"`
	// Repeated are runs of jobs that had run before. Redis lost the end of the first one, or a lease.
	Repeated int `json:"repeated"`
}

// Rate is how quickly jobs were done with.
type Rate struct {
	Jobs          int     `json:"jobs"`
	Seconds       float64 `json:"seconds"`
	JobsPerSecond float64 `json:"jobs_per_second"`
}

// Spread is how long it took, in milliseconds, for the quickest 50, 95 and 99 of a hundred.
type Spread struct {
	P50MS float64 `json:"p50_ms"`
	P95MS float64 `json:"p95_ms"`
	P99MS float64 `json:"p99_ms"`
}

// Calls are a rate, and how long each call took.
type Calls struct {
	Rate
	Spread
}

// Waits are of jobs one after the other.
type Waits struct {
	Jobs int `json:"jobs"`
	Spread
}

func rateOf(jobs int, took time.Duration) Rate {
	seconds := max(took, time.Microsecond).Seconds()
	return Rate{Jobs: jobs, Seconds: seconds, JobsPerSecond: float64(jobs) / seconds}
}

// spreadOf sorts what each took.
func spreadOf(took []time.Duration) Spread {
	slices.Sort(took)
	at := func(percent int) float64 { // the nearest rank
		n := (len(took)*percent + 99) / 100
		return float64(took[max(n, 1)-1]) / float64(time.Millisecond)
	}
	return Spread{P50MS: at(50), P95MS: at(95), P99MS: at(99)}
}
