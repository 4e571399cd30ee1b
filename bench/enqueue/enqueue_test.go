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
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/bench/internal/slow"
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
	for _, test := range []struct {
		goroutines, n int
		trip          time.Duration // added to the loopback's
	}{{1, 3_200, 0}, {16, 3_200, 0}, {64, 3_200, 0}, {16, 800, time.Millisecond}} {
		goroutines := test.goroutines
		title := fmt.Sprintf("enqueue, 256 B, %d goroutines", goroutines)
		if test.trip > 0 {
			title += fmt.Sprintf(", %v away", test.trip)
		}
		b.Run(fmt.Sprintf("goroutines=%d,away=%v", goroutines, test.trip), func(b *testing.B) {
			server := testservers.Redis(b)
			options := server.Options(b)
			if test.trip > 0 {
				options.Addr = slow.Proxy(b, server.Addr(), test.trip)
			}
			client := redis.NewClient(options)
			b.Cleanup(func() { client.Close() })
			table := rounds.Table{
				Title: title,
				N:     test.n,
				Turns: 4,
				CPU:   []rounds.Meter{rounds.OwnCPU(), rounds.RedisCPU(b.Context(), server.Client(b))},
			}
			for _, w := range waysToEnqueue(b, client) {
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

// waysToEnqueue are those of an app's own asynq client, and then those of jobs.NewAsynqClient.
func waysToEnqueue(b *testing.B, r redis.UniversalClient) []way {
	b.Helper()
	ways := waysWith(b, asynq.NewClientFromRedisClient(r))
	for _, w := range waysWith(b, jobs.NewAsynqClient(r))[:4] {
		w.name += "; trips shared"
		ways = append(ways, w)
	}
	return ways
}

func waysWith(b *testing.B, client *asynq.Client) []way {
	b.Helper()
	keys := newKeys(b)
	enqueuer, err := jobs.NewEnqueuer(client, keys, jobs.Config{})
	if err != nil {
		b.Fatal(err)
	}
	wrapped := jobs.Wrap(client, keys)
	def := jobs.Define[args]("bench:note", jobs.Policy{Queue: "bench"})
	a := args{UserID: 1234567890, Note: strings.Repeat("x", 224)}

	// What an app without sealq does before it enqueues: encode, and draw an ID like the Enqueuer's. Each way below spells its
	// call out, as an app would: a function of its own for the calls would cost all but the Enqueuer three allocations.
	prepare := func() (payload []byte, id string, err error) {
		if payload, err = json.Marshal(a); err != nil {
			return nil, "", err
		}
		drawn, err := uuid.NewV7()
		return payload, drawn.String(), err
	}
	const (
		kind    = "bench:note"
		queue   = "bench"
		retries = jobs.DefaultRetries + jobs.Headroom
		timeout = 20 * time.Minute // where options are the task's, as in asynq's guide
	)
	end := time.Unix(7258118400, 0) // as the Enqueuer sets it
	header := strings.Repeat("x", 104)
	return []way{
		{"plain asynq", 0, func(ctx context.Context) error {
			payload, id, err := prepare()
			if err != nil {
				return err
			}
			_, err = client.EnqueueContext(ctx, asynq.NewTask(kind, payload), asynq.TaskID(id), asynq.Queue(queue), asynq.MaxRetry(retries), asynq.Deadline(end))
			return err
		}},
		{"plain asynq, any header of 104 bytes", 0, func(ctx context.Context) error {
			payload, id, err := prepare()
			if err != nil {
				return err
			}
			task := asynq.NewTaskWithHeaders(kind, payload, map[string]string{signing.SignatureHeader: header})
			_, err = client.EnqueueContext(ctx, task, asynq.TaskID(id), asynq.Queue(queue), asynq.MaxRetry(retries), asynq.Deadline(end))
			return err
		}},
		{"jobs.Enqueuer", 0, func(ctx context.Context) error { _, err := enqueuer.Enqueue(ctx, def.With(a)); return err }},
		{"jobs.Wrap, options in the call", 0, func(ctx context.Context) error {
			payload, id, err := prepare()
			if err != nil {
				return err
			}
			_, err = wrapped.EnqueueContext(ctx, asynq.NewTask(kind, payload), asynq.TaskID(id), asynq.Queue(queue), asynq.MaxRetry(retries), asynq.Deadline(end))
			return err
		}},
		{"plain asynq, options in the task", 0, func(ctx context.Context) error {
			payload, id, err := prepare()
			if err != nil {
				return err
			}
			task := asynq.NewTask(kind, payload, asynq.Queue(queue), asynq.MaxRetry(retries), asynq.Timeout(timeout))
			_, err = client.EnqueueContext(ctx, task, asynq.TaskID(id))
			return err
		}},
		{"jobs.Wrap, options in the task", 4, func(ctx context.Context) error {
			payload, id, err := prepare()
			if err != nil {
				return err
			}
			task := asynq.NewTask(kind, payload, asynq.Queue(queue), asynq.MaxRetry(retries), asynq.Timeout(timeout))
			_, err = wrapped.EnqueueContext(ctx, task, asynq.TaskID(id))
			return err
		}},
		{"jobs.Wrap, a deadline in the task", 4, func(ctx context.Context) error {
			payload, id, err := prepare()
			if err != nil {
				return err
			}
			task := asynq.NewTask(kind, payload, asynq.Queue(queue), asynq.MaxRetry(retries), asynq.Deadline(end))
			_, err = wrapped.EnqueueContext(ctx, task, asynq.TaskID(id))
			return err
		}},
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
