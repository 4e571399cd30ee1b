package enqueue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// args are 256 bytes in JSON.
type args struct {
	UserID int64  `json:"user_id"`
	Note   string `json:"note"`
}

// BenchmarkEnqueueTable prints a table for each number of goroutines that enqueue at once. With one, a call waits for its round
// trip; with more, client and Redis share the machine's cores and the CPU time of both decides.
func BenchmarkEnqueueTable(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			server := testservers.Redis(b)
			redis := server.Client(b)
			table := rounds.Table{
				Title: fmt.Sprintf("enqueue, 256 B, %d goroutines", goroutines),
				N:     3_200,
				Turns: 4,
				CPU:   []rounds.Meter{rounds.OwnCPU(), rounds.RedisCPU(b.Context(), server.Client(b))},
			}
			for _, w := range waysToEnqueue(b, asynq.NewClientFromRedisClient(redis)) {
				table.Ways = append(table.Ways, rounds.Way{Name: w.name, Against: w.against, Run: func(n int, t *rounds.Timer) error {
					server.Flush(b)
					t.Start()
					defer t.Stop()
					return together(b.Context(), w.enqueue, n, goroutines)
				}})
			}
			for b.Loop() {
				table.Print(b)
			}
		})
	}
}

type way struct {
	name    string
	against int
	enqueue func(ctx context.Context) error
}

func waysToEnqueue(b *testing.B, client *asynq.Client) []way {
	b.Helper()
	keys := newKeys(b)
	enqueuer, err := jobs.NewEnqueuer(client, keys, jobs.Config{})
	if err != nil {
		b.Fatal(err)
	}
	wrapped := jobs.Wrap(client, keys)
	def := jobs.Define[args]("bench:note", jobs.Policy{Queue: "bench"})
	a := args{UserID: 1234567890, Note: strings.Repeat("x", 224)}

	// What an app without sealq does for the same task, where task makes it of payload and options.
	byHand := func(client interface {
		EnqueueContext(context.Context, *asynq.Task, ...asynq.Option) (*asynq.TaskInfo, error)
	}, end asynq.Option, task func(payload []byte, opts ...asynq.Option) (*asynq.Task, []asynq.Option),
	) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			payload, err := json.Marshal(a)
			if err != nil {
				return err
			}
			id, err := uuid.NewV7() // as the Enqueuer's
			if err != nil {
				return err
			}
			t, opts := task(payload, asynq.TaskID(id.String()), asynq.Queue("bench"), asynq.MaxRetry(jobs.DefaultRetries+jobs.Headroom), end)
			_, err = client.EnqueueContext(ctx, t, opts...)
			return err
		}
	}
	inCall := func(payload []byte, opts ...asynq.Option) (*asynq.Task, []asynq.Option) {
		return asynq.NewTask("bench:note", payload), opts
	}
	inTask := func(payload []byte, opts ...asynq.Option) (*asynq.Task, []asynq.Option) {
		return asynq.NewTask("bench:note", payload, opts...), nil
	}
	timeout := asynq.Timeout(20 * time.Minute)           // in place of the deadline, as asynq's guide has it
	deadline := asynq.Deadline(time.Unix(7258118400, 0)) // as the Enqueuer sets it
	header := strings.Repeat("x", 104)
	withHeader := func(payload []byte, opts ...asynq.Option) (*asynq.Task, []asynq.Option) {
		return asynq.NewTaskWithHeaders("bench:note", payload, map[string]string{signing.SignatureHeader: header}), opts
	}
	return []way{
		{"plain asynq", 0, byHand(client, deadline, inCall)},
		{"plain asynq, any header of 104 bytes", 0, byHand(client, deadline, withHeader)},
		{"jobs.Enqueuer", 0, func(ctx context.Context) error { _, err := enqueuer.Enqueue(ctx, def.With(a)); return err }},
		{"jobs.Wrap, options in the call", 0, byHand(wrapped, deadline, inCall)},
		{"plain asynq, options in the task", 0, byHand(client, timeout, inTask)},
		{"jobs.Wrap, options in the task", 4, byHand(wrapped, timeout, inTask)},
		{"jobs.Wrap, a deadline in the task", 4, byHand(wrapped, deadline, inTask)},
	}
}

func newKeys(b *testing.B) *signing.Keys {
	b.Helper()
	path := filepath.Join(b.TempDir(), "keys.json")
	ring, err := signing.NewRing(time.Now(), 720*time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	if err := signing.NewFile(path).Create(ring); err != nil {
		b.Fatal(err)
	}
	keys, err := signing.Open(b.Context(), "file:"+path, "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(keys.Close)
	return keys
}

// together enqueues n tasks with that many goroutines.
func together(ctx context.Context, enqueue func(context.Context) error, n, goroutines int) error {
	var g sync.WaitGroup
	errs := make(chan error, goroutines)
	for range goroutines {
		g.Go(func() {
			for range n / goroutines {
				if err := enqueue(ctx); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	g.Wait()
	close(errs)
	return <-errs // nil when closed and empty
}
