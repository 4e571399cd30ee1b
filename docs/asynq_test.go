package docs_test

import (
	"context"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

func TestAnAsynqServerWithTheHook(t *testing.T) {
	t.Parallel()
	client := testservers.Redis(t).Client(t)
	path := t.TempDir() + "/keys.json"
	ring, err := signing.NewRing(time.Now(), 720*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := signing.NewFile(path).Create(ring); err != nil {
		t.Fatal(err)
	}
	keys, err := signing.Open(t.Context(), "file:"+path, "docs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	verify, err := worker.New(keys, worker.Config{QuarantineDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}

	client.AddHook(verify.Hook())
	srv := asynq.NewServerFromRedisClient(client, verify.Config(asynq.Config{Concurrency: 8}))

	ran := make(chan struct{})
	mux := asynq.NewServeMux()
	mux.HandleFunc("greet", func(context.Context, *asynq.Task) error { close(ran); return nil })
	if err := srv.Start(verify.Handler(mux)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	if _, err := jobs.Wrap(asynq.NewClientFromRedisClient(client), keys).Enqueue(asynq.NewTask("greet", nil)); err != nil {
		t.Fatal(err)
	}
	<-ran
}
