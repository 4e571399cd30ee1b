package worker_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/signing/attack"
	"github.com/sealq/sealq/worker"
)

const corpusAudience = "prod-eu"

// ringSource holds one ring.
type ringSource struct{ ring *signing.Ring }

func (s ringSource) Load(context.Context) (*signing.Ring, error) { return s.ring, nil }
func (ringSource) String() string                                { return "memory" }

// shootingRange is where the corpus is fired: a real Redis, and a worker whose quarantine is a folder.
type shootingRange struct {
	t      *testing.T
	redis  *redis.Client
	lookup *rawtask.Reader
	ring   *signing.Ring // the forge's

	keys     *signing.Keys // of the target that serves
	verifier *worker.Verifier
	kept     folder
	verdicts chan worker.Verdict
	ran      calls    // IDs of the tasks that a handler got
	want     []string // IDs of those that it should get
	fired    int
}

// folder is the quarantine of a folder that notes what it was given.
type folder struct {
	*worker.Dir
	mu      sync.Mutex
	entries []jobs.Refused
}

func (f *folder) Keep(ctx context.Context, r jobs.Refused) error {
	if err := f.Dir.Keep(ctx, r); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = append(f.entries, r)
	return nil
}

// of reads the entries of the shot with that mark out of the folder.
func (f *folder) of(t *testing.T, mark string) []jobs.Refused {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []jobs.Refused
	for _, e := range f.entries {
		if !strings.Contains(e.TaskID+e.Kind, mark) {
			continue
		}
		entry, err := f.QuarantineShow(t.Context(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, entry)
	}
	return found
}

func newRange(t *testing.T) *shootingRange {
	t.Helper()
	ring, err := signing.NewRing(time.Now().Add(-48*time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := worker.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client := testservers.Redis(t).Client(t)
	return &shootingRange{t: t, redis: client, lookup: rawtask.NewReader(client), ring: ring, kept: folder{Dir: dir}}
}

// target starts a worker that holds the ring, until stop. Its handlers are typed unless a mux is given.
func (s *shootingRange) target(ring *signing.Ring, mux *asynq.ServeMux) (stop func()) {
	s.t.Helper()
	keys, err := signing.OpenWith(s.t.Context(), ringSource{ring}, corpusAudience, signing.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	var book ledger
	s.keys, s.verdicts = keys, make(chan worker.Verdict, 100)
	s.verifier, err = worker.New(keys, worker.Config{
		Quarantine: &s.kept, Effects: &book,
		OnVerdict: func(_ context.Context, v worker.Verdict) { s.verdicts <- v },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	var next asynq.Handler = s.handlers(&book)
	if mux != nil {
		next = mux
	}
	shutdown := serveOn(s.t, s.redis, s.verifier, next, asynq.Config{Queues: map[string]int{"mail": 1, "critical": 1}})
	return func() { shutdown(); keys.Close() }
}

type attacked struct {
	Attack string `json:"attack"`
}

func (s *shootingRange) handlers(book *ledger) *worker.Handlers {
	h := worker.NewHandlers(worker.HandlersConfig{})
	for _, def := range []jobs.Def[attacked]{
		jobs.Define[attacked]("mail:confirmation", jobs.Policy{MaxAge: time.Hour}),
		jobs.Define[attacked]("mail:reset", jobs.Policy{MaxAge: time.Hour, Encrypt: true}),
	} {
		worker.HandleTx(h, book, def, func(_ context.Context, _ string, j worker.Job[attacked]) error {
			s.ran.add(j.ID)
			return nil
		})
	}
	return h
}

// forge marks its tasks: some cases move a byte out of an ID, or swap it with the kind, but the mark stays whole.
func (s *shootingRange) forge() (f *attack.Forge, mark string) {
	s.t.Helper()
	s.fired++
	mark = fmt.Sprintf("-shot%04d-", s.fired)
	f, err := attack.NewForge(attack.Config{
		Ring: s.ring, Audience: corpusAudience, Queue: "mail", OtherQueue: "critical", UnservedQueue: "reports",
		Kind: "mail:confirmation", EncryptedKind: "mail:reset", IDPrefix: "attack" + mark,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return f, mark
}

// verdict is the worker's next one.
func (s *shootingRange) verdict(what fmt.Stringer) worker.Verdict {
	s.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-s.verdicts:
		return v
	case <-timer.C:
		s.t.Fatalf("%s: the worker had no verdict within %v", what, patience)
		return worker.Verdict{}
	}
}

// passes puts a genuine task, which must run and leave the queue.
func (s *shootingRange) passes(task signing.Task, what fmt.Stringer) {
	s.t.Helper()
	s.want = append(s.want, task.ID)
	putRaw(s.t, s.redis, task.Queue, task.ID, task)
	if v := s.verdict(what); v.Outcome != worker.Passed {
		s.t.Fatalf("%s: want the genuine task passed, got %s %s", what, v.Outcome, v.Reason)
	}
	eventually(s.t, what.String()+": the genuine task runs and leaves the queue", func() bool {
		return slices.Contains(s.ran.all(), task.ID) && !s.exists(task.Queue, task.ID)
	})
}

func (s *shootingRange) exists(list, id string) bool {
	n, err := s.redis.Exists(s.t.Context(), "asynq:{"+list+"}:t:"+id).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return n == 1
}

type genuineTask struct{}

func (genuineTask) String() string { return "a genuine task between the shots" }

// genuine is one that the forge makes.
func (s *shootingRange) genuine() {
	s.t.Helper()
	f, _ := s.forge()
	shot, err := f.Genuine()
	if err != nil {
		s.t.Fatal(err)
	}
	s.passes(shot.Task, genuineTask{})
}

// loaded is a case made ready.
type loaded struct {
	attack.Case
	attack.Shot
	mark string
}

func (l loaded) String() string { return l.Case.String() }

func (s *shootingRange) load(c attack.Case) loaded {
	s.t.Helper()
	f, mark := s.forge()
	shot, err := c.Make(f)
	if err != nil {
		s.t.Fatal(err)
	}
	return loaded{Case: c, Shot: shot, mark: mark}
}

func (s *shootingRange) loadAll(cases []attack.Case) []loaded {
	s.t.Helper()
	var all []loaded
	for _, c := range cases {
		all = append(all, s.load(c))
	}
	return all
}

// fire puts the task where its case says, and requires of the target what the case wants.
func (s *shootingRange) fire(c loaded) {
	s.t.Helper()
	if c.First != nil {
		s.passes(*c.First, c)
	}
	putRaw(s.t, s.redis, c.List, c.ID, c.Task)
	got, want := s.verdict(c), worker.Verdict{Outcome: worker.Refused, Reason: c.Want}
	switch {
	case c.Deferred:
		want.Outcome = worker.Deferred
	case c.Want == "":
		want.Outcome = worker.Duplicate
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(worker.Verdict{}, "Kind", "KID")); diff != "" {
		s.t.Errorf("%s: verdict (-want +got):\n%s", c, diff)
	}
	if got.Outcome == worker.Deferred {
		s.deferred(c)
	}
	entries := s.kept.of(s.t, c.mark)
	if want.Outcome != worker.Refused {
		if len(entries) > 0 {
			s.t.Errorf("%s: it stands in quarantine as %s", c, entries[0].Reason)
		}
		return
	}
	if len(entries) != 1 {
		s.t.Fatalf("%s: it stands in quarantine %d times", c, len(entries))
	}
	requireUndecoded(s.t, c, entries[0])
	if c.List == c.Task.Queue && c.ID == c.Task.ID { // asynq does not find any other in its list again
		eventually(s.t, c.String()+": it leaves the queue", func() bool { return !s.exists(c.List, c.ID) })
	}
}

// requireUndecoded requires of the entry what came, as it came.
func requireUndecoded(t *testing.T, c loaded, e jobs.Refused) {
	t.Helper()
	task := c.Task
	want := jobs.Refused{
		Reason: c.Want, Authentic: c.Want.Authentic(), MaxRetry: task.MaxRetry,
		Payload: task.Payload[:min(len(task.Payload), jobs.MaxArgsBytes)],
		Size:    int64(len(task.Payload)), PayloadSHA256: sha256.Sum256(task.Payload),
	}
	got := jobs.Refused{
		Reason: e.Reason, Authentic: e.Authentic, MaxRetry: e.MaxRetry, Payload: e.Payload, Size: e.Size, PayloadSHA256: e.PayloadSHA256,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: its entry (-want +got):\n%s", c, diff)
	}
	size := 0
	for name, value := range task.Headers {
		size += len(name) + len(value)
	}
	if size > signing.DefaultMaxHeaderTotal || len(task.Headers) > signing.DefaultMaxHeaders {
		return // the entry keeps a part
	}
	if diff := cmp.Diff(task.Headers, e.Headers, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: its entry's headers (-want +got):\n%s", c, diff)
	}
}

// deferred requires of a task that it waits for another look, with all its tries, and takes it away.
func (s *shootingRange) deferred(c loaded) {
	s.t.Helper()
	eventually(s.t, c.String()+": it waits for another look", func() bool {
		task, err := s.lookup.Lookup(s.t.Context(), c.List, c.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		if task.Retried != 0 {
			s.t.Fatalf("%s: waiting used up %d tries", c, task.Retried)
		}
		return task.State == "retry" && task.Placed
	})
	prefix := "asynq:{" + c.List + "}:"
	_, err := s.redis.TxPipelined(s.t.Context(), func(p redis.Pipeliner) error {
		p.ZRem(s.t.Context(), prefix+"retry", c.ID)
		p.Del(s.t.Context(), prefix+"t:"+c.ID)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// requireUnharmed requires that the handlers ran on the genuine tasks alone, once on each, and no alarm hides a reason.
func (s *shootingRange) requireUnharmed() {
	s.t.Helper()
	got := s.ran.all()
	slices.Sort(got)
	slices.Sort(s.want)
	if diff := cmp.Diff(s.want, got); diff != "" {
		s.t.Errorf("tasks that handlers ran on (-want +got):\n%s", diff)
	}
	if err := s.verifier.Alarm(); err != nil {
		s.t.Error(err)
	}
}
