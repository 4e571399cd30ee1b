package metrics_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// An app's own worker, with sealq's metrics in the app's own registry.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ring, err := signing.NewRing(time.Now(), 720*time.Hour) // an app opens the one that `sealq keys init` made
	if err != nil {
		panic(err)
	}
	source := signing.NewFile(filepath.Join(dir, "keys.json"))
	if err := source.Create(ring); err != nil {
		panic(err)
	}
	queue, err := miniredis.Run() // an app connects to its Redis
	if err != nil {
		panic(err)
	}
	defer queue.Close()
	client := redis.NewClient(&redis.Options{Addr: queue.Addr(), ContextTimeoutEnabled: true})
	defer func() { _ = client.Close() }()
	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer

	welcome := jobs.Define[string]("welcome", jobs.Policy{})
	tally := metrics.NewTally(metrics.TallyConfig{Kinds: []jobs.Kind{welcome.Kind()}})
	keys, err := signing.OpenWith(ctx, source, "example", signing.Options{OnSigned: tally.Signed})
	if err != nil {
		panic(err)
	}
	defer keys.Close()
	verify, err := worker.New(keys, worker.Config{
		QuarantineDir: filepath.Join(dir, "quarantine"), OnVerdict: tally.Verdict, OnEnd: tally.Ended,
	})
	if err != nil {
		panic(err)
	}
	readings, err := metrics.NewReadings(metrics.Sources{
		Ring: keys, Redis: client, Queues: []string{"default"},
		Alarms:       map[string]func() error{"key_refusals": verify.Alarm},
		Dependencies: map[string]func(context.Context) error{"redis": func(ctx context.Context) error { return client.Ping(ctx).Err() }},
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = readings.Close() }() // before the client
	registry.MustRegister(tally, readings)

	handlers := worker.NewHandlers(worker.HandlersConfig{})
	worker.Handle(handlers, welcome, func(_ context.Context, j worker.Job[string]) error { stop(); return nil })
	server, err := worker.NewServer(client, verify, handlers, worker.ServerConfig{})
	if err != nil {
		panic(err)
	}
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(client), keys, jobs.Config{})
	if err != nil {
		panic(err)
	}
	if _, err := enqueuer.Enqueue(ctx, welcome.With("Ada")); err != nil {
		panic(err)
	}
	if err := server.Run(ctx); err != nil {
		panic(err)
	}

	families, err := registry.Gather() // promhttp.HandlerFor(registry, …) does, for Prometheus
	if err != nil {
		panic(err)
	}
	for _, family := range families {
		switch name := family.GetName(); {
		case strings.HasPrefix(name, "sealq_tasks_signed"), strings.HasPrefix(name, "sealq_tasks_verified"):
			fmt.Println(name, family.GetMetric()[0].GetCounter().GetValue())
		case name == "sealq_dependency_up":
			fmt.Println(name, family.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output:
	// sealq_dependency_up 1
	// sealq_tasks_signed_total 1
	// sealq_tasks_verified_total 1
}
