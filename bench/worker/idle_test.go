package worker_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/worker"
)

// idleFor is how long Redis's commands are counted.
const idleFor = 10 * time.Second

// BenchmarkIdle measures how soon a worker that has nothing to do picks up a job, and how many commands it sends meanwhile.
func BenchmarkIdle(b *testing.B) {
	r := newRig(b)
	for b.Loop() {
		t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "\nidle, four queues\tpick-up p50\tp99\tRedis commands/s\n")
		for _, w := range []struct {
			name  string
			jobs  int
			start func(picked func(string)) (stop func())
		}{
			{"plain asynq, its defaults", 60, func(picked func(string)) func() {
				srv := asynq.NewServerFromRedisClient(r.away(b, 0), asynq.Config{Queues: four(), LogLevel: asynq.FatalLevel})
				check(b, srv.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
					id, _ := asynq.GetTaskID(ctx)
					picked(id)
					return nil
				})))
				return srv.Shutdown
			}},
			{"worker.Server, its defaults", 400, func(picked func(string)) func() { return r.idleServer(b, picked, 0) }},
			{"worker.Server, 4 fetchers", 400, func(picked func(string)) func() { return r.idleServer(b, picked, 4) }},
		} {
			r.server.Flush(b)
			p50, p99, commands := r.idle(b, w.jobs, w.start)
			fmt.Fprintf(t, "%s\t%v\t%v\t%.0f\n", w.name, p50.Round(100*time.Microsecond), p99.Round(100*time.Microsecond), commands)
		}
		check(b, t.Flush())
	}
}

func (r *rig) idleServer(b *testing.B, picked func(string), fetchers int) func() {
	b.Helper()
	v, err := worker.New(r.keys, worker.Config{QuarantineDir: r.dir + "/quarantine"})
	check(b, err)
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(h, noop("mail"), func(_ context.Context, j worker.Job[string]) error { picked(j.ID); return nil })
	s, err := worker.NewServer(r.away(b, 0), v, h, worker.ServerConfig{Queues: four(), Fetchers: fetchers})
	check(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() { cancel(); check(b, <-ended) }
}

func (r *rig) idle(b *testing.B, jobs int, start func(func(string)) func()) (p50, p99 time.Duration, commands float64) {
	b.Helper()
	pickedAt := make(chan time.Time, 1)
	stop := start(func(string) { pickedAt <- time.Now() })
	defer stop()
	def := noop("mail")
	var late []time.Duration
	for i := range jobs {
		// At no fixed distance from the polls.
		time.Sleep(30*time.Millisecond + time.Duration(i*7919%40)*time.Millisecond)
		_, err := r.enqueuer.Enqueue(b.Context(), def.With(text))
		check(b, err)
		enqueued := time.Now()
		late = append(late, (<-pickedAt).Sub(enqueued))
	}
	slices.Sort(late)
	before, began := r.commands(b), time.Now()
	time.Sleep(idleFor)
	return late[len(late)/2], late[len(late)*99/100], float64(r.commands(b)-before) / time.Since(began).Seconds()
}

// commands is how many Redis has processed, those inside scripts too.
func (r *rig) commands(b *testing.B) (n int64) {
	b.Helper()
	info, err := r.client.InfoMap(b.Context(), "stats").Result()
	check(b, err)
	_, err = fmt.Sscan(info["Stats"]["total_commands_processed"], &n)
	check(b, err)
	return n
}
