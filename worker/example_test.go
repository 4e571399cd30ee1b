package worker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// exampleKeys makes a ring of its own; an app opens the one that `sealq keys init` made.
func exampleKeys(ctx context.Context, dir string) *signing.Keys {
	path := filepath.Join(dir, "keys.json")
	ring, err := signing.NewRing(time.Now(), 720*time.Hour)
	if err != nil {
		panic(err)
	}
	if err := signing.NewFile(path).Create(ring); err != nil {
		panic(err)
	}
	keys, err := signing.Open(ctx, "file:"+path, "example")
	if err != nil {
		panic(err)
	}
	return keys
}

// A server with a kind that talks to a mail server: while that is down its jobs wait in their queue, and the others go on.
func ExampleNewServer() {
	ctx, stop := context.WithCancel(context.Background())
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	keys := exampleKeys(ctx, dir)
	defer keys.Close()
	queue, err := miniredis.Run() // an app connects to its Redis
	if err != nil {
		panic(err)
	}
	defer queue.Close()
	client := redis.NewClient(&redis.Options{Addr: queue.Addr()})
	defer func() { _ = client.Close() }()

	welcome := jobs.Define[string]("welcome", jobs.Policy{Queue: "mail"})
	smtp, err := worker.NewBreaker(worker.BreakerConfig{System: "smtp", Kinds: []jobs.Kind{"welcome"}})
	if err != nil {
		panic(err)
	}
	handlers := worker.NewHandlers(worker.HandlersConfig{
		Breakers: []*worker.Breaker{smtp},
		Limits:   map[jobs.Kind]worker.Limit{"welcome": {Concurrency: 4, PerSecond: 50}},
	})
	send := func(string) error { return nil } // an app's own
	errRefused := errors.New("the server refuses our password")
	worker.Handle(handlers, welcome, func(_ context.Context, j worker.Job[string]) error {
		if err := send(j.Args); errors.Is(err, errRefused) {
			return worker.Outage("smtp", err) // nobody's mail is to blame
		} else if err != nil {
			return err
		}
		fmt.Println("welcome,", j.Args)
		stop()
		return nil
	})
	verify, err := worker.New(keys, worker.Config{QuarantineDir: filepath.Join(dir, "quarantine")})
	if err != nil {
		panic(err)
	}
	server, err := worker.NewServer(client, verify, handlers, worker.ServerConfig{Queues: map[string]int{"critical": 3, "mail": 1}})
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
	// Output: welcome, Ada
}

// The one line that an asynq server of an app's own wants beside Config and Handler.
func ExampleVerifier_Hook() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	keys := exampleKeys(ctx, dir)
	defer keys.Close()
	queue, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer queue.Close()
	client := redis.NewClient(&redis.Options{Addr: queue.Addr()})
	defer func() { _ = client.Close() }()
	verify, err := worker.New(keys, worker.Config{QuarantineDir: filepath.Join(dir, "quarantine")})
	if err != nil {
		panic(err)
	}

	client.AddHook(verify.Hook())
	ran := make(chan string)
	handler := asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error { ran <- string(task.Payload()); return nil })
	srv := asynq.NewServerFromRedisClient(client, verify.Config(asynq.Config{LogLevel: asynq.FatalLevel}))
	if err := srv.Start(verify.Handler(handler)); err != nil {
		panic(err)
	}
	if _, err := jobs.Wrap(asynq.NewClientFromRedisClient(client), keys).Enqueue(asynq.NewTask("greet", []byte("hello"))); err != nil {
		panic(err)
	}
	fmt.Println(<-ran)
	srv.Shutdown()
	// Output: hello
}
