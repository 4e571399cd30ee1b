package enqueue_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

const (
	rounds     = 5
	perRound   = 20_000 // tasks
	goroutines = 16
)

type way struct {
	name    string
	enqueue func(ctx context.Context) error
}

// BenchmarkEnqueueTable prints rates as ratios to plain asynq: medians of rounds in which the ways take turns.
func BenchmarkEnqueueTable(b *testing.B) {
	server := testservers.Redis(b)
	client := asynq.NewClientFromRedisClient(server.Client(b))
	ways := waysToEnqueue(b, client)
	for b.Loop() {
		byWay := make([][]float64, len(ways))
		for range rounds {
			rates := make([]float64, len(ways))
			for i, w := range ways {
				server.Flush(b)
				rates[i] = rate(b, w)
			}
			for i := range ways {
				byWay[i] = append(byWay[i], rates[i]/rates[0])
			}
		}
		t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "\n%d goroutines, 256 B\trate, × plain asynq (median of %d)\n", goroutines, rounds)
		for i, w := range ways {
			slices.SortFunc(byWay[i], cmp.Compare)
			fmt.Fprintf(t, "%s\t%.2f\n", w.name, byWay[i][rounds/2])
		}
		if err := t.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}

func waysToEnqueue(b *testing.B, client *asynq.Client) []way {
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
	enqueuer, err := jobs.NewEnqueuer(client, keys, jobs.Config{})
	if err != nil {
		b.Fatal(err)
	}
	def := jobs.Define[string]("bench", jobs.Policy{Queue: "bench"})
	text := strings.Repeat("x", 254) // 256 bytes with the quotes
	payload := []byte(`"` + text + `"`)
	wrapped := jobs.Wrap(client, keys)
	far := asynq.Deadline(time.Unix(7258118400, 0)) // as the Enqueuer sets it
	return []way{
		{"plain asynq", func(ctx context.Context) error {
			id, err := uuid.NewV7()
			if err != nil {
				return err
			}
			_, err = client.EnqueueContext(ctx, asynq.NewTask("bench", payload), asynq.TaskID(id.String()), asynq.Queue("bench"), asynq.MaxRetry(110), far)
			return err
		}},
		{"jobs.Enqueuer", func(ctx context.Context) error { _, err := enqueuer.Enqueue(ctx, def.With(text)); return err }},
		{"jobs.Wrap", func(ctx context.Context) error {
			id, err := uuid.NewV7()
			if err != nil {
				return err
			}
			_, err = wrapped.EnqueueContext(ctx, asynq.NewTask("bench", payload), asynq.TaskID(id.String()), asynq.Queue("bench"), asynq.MaxRetry(110), far)
			return err
		}},
	}
}

// rate is how many tasks a second one way enqueues.
func rate(b *testing.B, w way) float64 {
	b.Helper()
	var g sync.WaitGroup
	errs := make(chan error, goroutines)
	began := time.Now()
	for range goroutines {
		g.Go(func() {
			for range perRound / goroutines {
				if err := w.enqueue(b.Context()); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	g.Wait()
	close(errs)
	for err := range errs {
		b.Fatal(err)
	}
	return perRound / time.Since(began).Seconds()
}
