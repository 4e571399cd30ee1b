package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// The worker processes of the tests are this test binary, told by these variables where its servers are.
const (
	workerEnv   = "SEALQ_TEST_WORKER" // its database's URL
	ringEnv     = "SEALQ_TEST_RING"
	redisEnv    = "SEALQ_TEST_REDIS_ADDR"
	mailEnv     = "SEALQ_TEST_SMTP"
	passedAfter = 2 * time.Second // between a task's verdict and its being counted, on a machine that is busy
)

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) == "" {
		os.Exit(m.Run())
	}
	if err := workUntilStopped(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// account is what a worker process says at its end.
type account struct {
	LastPassed map[string]time.Time `json:"last_passed"` // by kid: when a task under it verified last
	Seen       map[uint64]time.Time `json:"seen"`        // by ring version: since when this process has it
	Refused    int                  `json:"refused"`
}

func workUntilStopped() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	keys, err := signing.Open(context.Background(), "file:"+os.Getenv(ringEnv), "test")
	if err != nil {
		return err
	}
	defer keys.Close()
	db, err := app.Open(ctx, os.Getenv(workerEnv))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	client := redis.NewClient(&redis.Options{Addr: os.Getenv(redisEnv)})
	defer func() { _ = client.Close() }()
	sender, err := mail.NewSender(mail.Config{URL: os.Getenv(mailEnv), From: "no-reply@app.example"})
	if err != nil {
		return err
	}
	defer sender.Close()
	a := account{LastPassed: make(map[string]time.Time), Seen: map[uint64]time.Time{keys.Version(): time.Now()}}
	var mu sync.Mutex
	w, err := db.Worker(app.WorkerConfig{
		Redis: client, Keys: keys, Sender: sender, BaseURL: "https://app.example", Concurrency: 4,
		TaskPoll: 10 * time.Millisecond, ForwardPoll: 50 * time.Millisecond, Shutdown: 5 * time.Second,
		Relay: relay.Config{Poll: 5 * time.Millisecond, Overdue: 500 * time.Millisecond, Reconcile: 100 * time.Millisecond},
		OnVerdict: func(_ context.Context, v worker.Verdict) {
			mu.Lock()
			defer mu.Unlock()
			switch v.Outcome {
			case worker.Passed:
				a.LastPassed[v.KID] = time.Now()
			case worker.Refused:
				a.Refused++
			case worker.Unsigned, worker.Duplicate, worker.Deferred:
			}
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				mu.Lock()
				if version := keys.Version(); a.Seen[version].IsZero() {
					a.Seen[version] = time.Now()
				}
				mu.Unlock()
			}
		}
	}()
	err = w.Run(ctx)
	<-watched
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(a))
}

// inProcess starts a worker in a process of its own. end stops it in order.
func (s *system) inProcess(databaseURL string) (end func() account) {
	t := s.t
	t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+databaseURL, ringEnv+"="+s.ringFile, redisEnv+"="+s.queue.Addr(), mailEnv+"="+s.mails.URL())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() account {
		t.Helper()
		check(t, cmd.Process.Signal(syscall.SIGTERM))
		text, err := io.ReadAll(out)
		check(t, err)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("a worker died: %v: %s", err, text)
		}
		var a account
		check(t, json.Unmarshal(text, &a))
		return a
	}
}

// Three workers in processes of their own reload by themselves when the key under which hundreds of tasks wait is revoked.
func TestRevokingAKeyInMidRunEndsItsTasksAndLosesNoJob(t *testing.T) {
	t.Parallel()
	url := testservers.Postgres(t)
	s := newSystem(t, url)
	// The mail server takes twenty mails and then holds the others until the key is revoked: tasks wait under it.
	release, sessions := make(chan struct{}), atomic.Int32{}
	s.mails = s.catch(func(ctx context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && sessions.Add(1) > 20 {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	})
	var workers []func() account
	for range 3 {
		workers = append(workers, s.inProcess(url))
	}
	all := people(200)
	for _, address := range all[:150] {
		s.register(t, address)
	}
	eventually(t, "tasks wait under the key", func() bool {
		n, err := s.redis.LLen(t.Context(), "asynq:{mail}:pending").Result()
		return err == nil && n >= 20
	})
	leaked := s.keys.Infos()[0].KID
	ring, err := signing.NewFile(s.ringFile).Update(t.Context(), func(r *signing.Ring) (*signing.Ring, error) {
		return r.RevokeActive(leaked, signing.KID{}, time.Now())
	})
	check(t, err)
	close(release)
	for _, address := range all[150:] {
		s.register(t, address)
	}
	eventually(t, "every outbox row ends", func() bool {
		unfinished, _, err := s.db.OutboxDepth(t.Context())
		check(t, err)
		return unfinished[jobs.RowQueued]+unfinished[jobs.RowClaimed]+unfinished[jobs.RowEnqueued] == 0
	})
	s.oneMailEach(t, slices.Clone(all))
	refused := 0
	for _, end := range workers {
		a := end()
		refused += a.Refused
		since, reloaded := a.Seen[ring.Version()]
		if !reloaded {
			t.Errorf("a worker never saw version %d of the ring: %v", ring.Version(), a.Seen)
		}
		if last := a.LastPassed[leaked.String()]; last.After(since.Add(passedAfter)) {
			t.Errorf("a task under the revoked key passed %v after its worker had the new ring", last.Sub(since))
		}
	}
	list, err := s.db.QuarantineList(t.Context(), 1000)
	check(t, err)
	for _, e := range list {
		if e.Reason != signing.ReasonKeyNotValid {
			t.Errorf("%s stands in quarantine for %s", e.TaskID, e.Reason)
		}
	}
	if len(list) < 10 || refused < len(list) {
		t.Errorf("%d tasks were refused and %d stand in quarantine: the key was revoked too late to tell", refused, len(list))
	}
}
