package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/worker"
)

func four() map[string]int {
	return map[string]int{"critical": 6, "mail": 3, "default": 2, "maintenance": 1}
}

// BenchmarkWorkTable compares with no distance to Redis, and with a millisecond.
func BenchmarkWorkTable(b *testing.B) {
	f := newFixture(b)
	cpu := []rounds.Meter{rounds.OwnCPU(), rounds.RedisCPU(b.Context(), f.redis)}
	equal := asynq.Config{Concurrency: slots}
	ways := func(trip time.Duration) []rounds.Way {
		return []rounds.Way{
			{Name: "plain asynq, its defaults", Run: f.way(trip, f.plainTasks, plain(asynq.Config{}))},
			{Name: "plain asynq, 16 slots", Run: f.way(trip, f.plainTasks, plain(equal))},
			{Name: "the same, signed", Run: f.way(trip, f.signedTasks, f.dropIn(equal, false)), Against: 1},
			{Name: "the same, signed, with Verifier.Hook", Run: f.way(trip, f.signedTasks, f.dropIn(equal, true)), Against: 1},
			{Name: "worker.Server, its defaults", Run: f.way(trip, f.signedTasks, f.serverOf(worker.ServerConfig{}))},
		}
	}
	b.Run("loopback", func(b *testing.B) {
		r := newRiver(b)
		server := f.way(0, f.signedTasks, f.serverOf(worker.ServerConfig{}))
		table := rounds.Table{Title: "no-op jobs, 256 B, loopback", N: 20_000, CPU: append(cpu, rounds.PostgresCPU(b.Context(), r.pool)), Ways: append(ways(0),
			rounds.Way{Name: "River, 16 workers", Run: r.way(slots)},
			rounds.Way{Name: "River, 100 workers, as in its documentation", Run: r.way(100)},
			rounds.Way{Name: "River, 2,000 workers, as in its benchmark", Run: r.way(2000)},
			rounds.Way{Name: "worker.Server ÷ River, 100 workers", Run: server, Against: 6},
			rounds.Way{Name: "worker.Server ÷ River, 2,000 workers", Run: server, Against: 7})}
		for b.Loop() {
			table.Print(b)
		}
	})
	b.Run("1 ms away", func(b *testing.B) {
		table := rounds.Table{Title: "no-op jobs, 256 B, 1 ms to Redis", N: 1600, CPU: cpu, Ways: ways(time.Millisecond)}
		for b.Loop() {
			table.Print(b)
		}
	})
}

// BenchmarkFetchersTable is what the default numbers of fetch loops and of slots were chosen by.
func BenchmarkFetchersTable(b *testing.B) {
	f := newFixture(b)
	cpu := []rounds.Meter{rounds.OwnCPU(), rounds.RedisCPU(b.Context(), f.redis)}
	for name, trip := range map[string]time.Duration{"loopback": 0, "1 ms away": time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			table := rounds.Table{Title: "worker.Server, 4 queues, " + name, N: 8000, CPU: cpu}
			for _, c := range []worker.ServerConfig{
				{Concurrency: 16, Fetchers: 1},
				{Concurrency: 16, Fetchers: 2},
				{Concurrency: 16, Fetchers: 4},
				{Concurrency: 32, Fetchers: 1},
				{Concurrency: 64, Fetchers: 1},
				{Concurrency: 64, Fetchers: 2},
				{Concurrency: 64, Fetchers: 4},
			} {
				c.Queues = four()
				table.Ways = append(table.Ways, rounds.Way{
					Name: fmt.Sprintf("%d slots, %d fetchers", c.Concurrency, c.Fetchers), Run: f.way(trip, f.signedTasks, f.serverOf(c)),
				})
			}
			for b.Loop() {
				table.Print(b)
			}
		})
	}
}
