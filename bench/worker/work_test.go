package worker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/worker"
)

const rounds = 15

func four() map[string]int {
	return map[string]int{"critical": 6, "mail": 3, "default": 2, "maintenance": 1}
}

// BenchmarkWork compares with no distance to Redis, and with a millisecond.
func BenchmarkWork(b *testing.B) {
	r := newRig(b)
	equal := asynq.Config{Concurrency: concurrency}
	ways := []way{
		plainServer("plain asynq, its defaults", asynq.Config{}),
		plainServer("plain asynq, concurrency 16", equal),
		r.dropIn("the same, signed", equal, false),
		r.dropIn("the same, signed, with Verifier.Hook", equal, true),
		r.serverOf("worker.Server, its defaults", worker.ServerConfig{}),
	}
	beside := append(slices.Clone(ways), riverOf(b, "River on PostgreSQL, 16 workers", 16), riverOf(b, "River on PostgreSQL, 2,000 workers", 2000))
	for b.Loop() {
		r.compare(b, "loopback", 0, rounds, 4000, beside)
		r.compare(b, "1 ms to Redis", time.Millisecond, 7, 800, ways)
	}
}

// BenchmarkFetchers is what the default number of fetch loops was chosen by.
func BenchmarkFetchers(b *testing.B) {
	r := newRig(b)
	for b.Loop() {
		for _, c := range []int{16, 64} {
			var ways []way
			for _, n := range []int{1, 2, 4} {
				ways = append(ways, r.serverOf(fmt.Sprintf("%d fetchers", n), worker.ServerConfig{Fetchers: n, Concurrency: c, Queues: four()}))
			}
			r.compare(b, fmt.Sprintf("loopback, concurrency %d", c), 0, rounds, 4000, ways)
			r.compare(b, fmt.Sprintf("1 ms to Redis, concurrency %d", c), time.Millisecond, 7, 4000, ways)
		}
	}
}
