package worker_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker"
)

// idleFor is how long Redis's commands are counted.
const idleFor = 10 * time.Second

// BenchmarkIdleTable measures how soon a worker that has nothing to do picks up a job, and how many commands it sends meanwhile.
func BenchmarkIdleTable(b *testing.B) {
	f := newFixture(b)
	for b.Loop() {
		t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "\nidle, four queues\tpick-up p50\tp99\tRedis commands/s\t(of jobs)\n")
		for _, w := range []struct {
			name  string
			jobs  int
			start starter
		}{
			{"plain asynq, its defaults", 60, plain(asynq.Config{Queues: four()})},
			{"worker.Server, its defaults", 400, f.serverOf(worker.ServerConfig{Queues: four()})},
			{"worker.Server, 4 fetchers", 400, f.serverOf(worker.ServerConfig{Queues: four(), Fetchers: 4})},
		} {
			f.server.Flush(b)
			p50, p99, commands := f.idle(w.jobs, w.start)
			fmt.Fprintf(t, "%s\t%v\t%v\t%.0f\t%d\n", w.name, p50.Round(100*time.Microsecond), p99.Round(100*time.Microsecond), commands, w.jobs)
		}
		f.must(t.Flush())
	}
}

func (f *fixture) idle(n int, start starter) (p50, p99 time.Duration, commands float64) {
	f.b.Helper()
	client := f.client(f.address(0))
	defer client.Close()
	picked := make(chan time.Time, 1)
	stop, err := start(client, func() { picked <- time.Now() })
	f.must(err)
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(f.redis), f.keys, jobs.Config{})
	f.must(err)
	def := noop()
	late := make([]time.Duration, 0, n)
	for i := range n {
		// At no fixed distance from the polls.
		time.Sleep(30*time.Millisecond + time.Duration(i*7919%40)*time.Millisecond)
		_, err := enqueuer.Enqueue(f.b.Context(), def.With(text))
		f.must(err)
		enqueued := time.Now()
		late = append(late, (<-picked).Sub(enqueued))
	}
	slices.Sort(late)
	before, began := f.commands(), time.Now()
	time.Sleep(idleFor)
	commands = float64(f.commands()-before) / time.Since(began).Seconds()
	f.must(stop())
	return late[len(late)/2], late[len(late)*99/100], commands
}

// commands is how many Redis has processed, those inside scripts too.
func (f *fixture) commands() (n int64) {
	f.b.Helper()
	info, err := f.redis.InfoMap(f.b.Context(), "stats").Result()
	f.must(err)
	_, err = fmt.Sscan(info["Stats"]["total_commands_processed"], &n)
	f.must(err)
	return n
}
