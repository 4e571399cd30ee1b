package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

// enqueued is an enqueuer and the Redis that it fills.
type enqueued struct {
	keys     *signing.Keys
	redis    *redis.Client
	server   *testservers.RedisServer
	enqueuer *jobs.Enqueuer
	reader   *rawtask.Reader
}

func newEnqueued(t *testing.T) enqueued {
	t.Helper()
	e := enqueued{keys: fixture.Keys(t), server: testservers.Redis(t)}
	e.redis = e.server.Client(t)
	e.reader = rawtask.NewReader(e.redis)
	e.enqueuer = newEnqueuer(t, e.redis, e.keys, jobs.Config{})
	return e
}

func newEnqueuer(t *testing.T, c redis.UniversalClient, k *signing.Keys, cfg jobs.Config) *jobs.Enqueuer {
	t.Helper()
	e, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(c), k, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e enqueued) enqueue(t *testing.T, j jobs.Job) jobs.Receipt {
	t.Helper()
	r, err := e.enqueuer.Enqueue(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (e enqueued) task(t *testing.T, r jobs.Receipt) rawtask.Task {
	t.Helper()
	task, err := e.reader.Lookup(t.Context(), r.Queue, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func (e enqueued) verify(t *testing.T, r jobs.Receipt) signing.Verified {
	t.Helper()
	task := e.task(t, r)
	v, err := e.keys.Verify(signing.Task{
		Kind: task.Kind, ID: task.ID, Queue: task.Queue, MaxRetry: task.MaxRetry, Headers: task.Headers, Payload: task.Payload,
	}, task.Headers[signing.SignatureHeader])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEnqueueStoresASignedTask(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	before := time.Now()
	r := e.enqueue(t, noteDef(jobs.Policy{}).With(note{User: 7, Text: "hi"}))

	if id, err := uuid.Parse(r.ID); err != nil || id.Version() != 7 {
		t.Errorf("the ID %q is no UUIDv7", r.ID)
	}
	if late := r.ExpiresAt.Sub(before) - 24*time.Hour; late < 0 || late > 5*time.Second {
		t.Errorf("it expires %v after the kind's max age", late)
	}
	want := jobs.Receipt{ID: r.ID, Queue: "default", Kind: "test:note", KID: e.keys.Infos()[0].KID.String(), ExpiresAt: r.ExpiresAt}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	task := e.task(t, r)
	if task.State != "pending" || !task.Placed || string(task.Payload) != `{"user":7,"text":"hi"}` {
		t.Errorf("Redis holds %+v", task)
	}
	if task.MaxRetry != 10+jobs.Headroom || jobs.RetriesSigned(task.MaxRetry) != 10 {
		t.Errorf("asynq is given %d retries", task.MaxRetry)
	}
	// A deadline instead of a timeout: asynq would run a handler that ignores its context a second time.
	fields, _ := fixture.Fields(t, fixture.Stored(t, e.redis, r.Queue, r.ID)["msg"])
	if fields["timeout"] != nil || task.Deadline.Year() != 2200 {
		t.Errorf("timeout %v, deadline %v", fields["timeout"], task.Deadline)
	}
	c := e.verify(t, r).Claims()
	if c.Kind != "test:note" || c.ID != r.ID || c.Effect != r.ID || c.Queue != "default" || c.Encrypted || !c.Expires.Equal(r.ExpiresAt.Truncate(time.Millisecond)) {
		t.Errorf("claims %+v", c)
	}
	if _, _, isRow := jobs.RowAttempt(c); isRow {
		t.Error("it passes for a row's task")
	}
}

func TestEnqueueOptions(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := now.Add(time.Hour).Truncate(time.Second)
	tests := map[string]struct {
		opts []jobs.Option
		want func(task rawtask.Task, c signing.Claims, r jobs.Receipt) bool
	}{
		"an ID": {[]jobs.Option{jobs.ID("order-4711")}, func(task rawtask.Task, c signing.Claims, r jobs.Receipt) bool {
			return task.ID == "order-4711" && c.Effect == r.ID
		}},
		"a queue": {[]jobs.Option{jobs.Queue("low")}, func(task rawtask.Task, c signing.Claims, r jobs.Receipt) bool {
			return c.Queue == "low" && r.Queue == "low"
		}},
		"retries": {[]jobs.Option{jobs.MaxRetry(3)}, func(task rawtask.Task, _ signing.Claims, _ jobs.Receipt) bool { return task.MaxRetry == 103 }},
		"no retries": {[]jobs.Option{jobs.MaxRetry(jobs.NoRetries)}, func(task rawtask.Task, _ signing.Claims, _ jobs.Receipt) bool {
			return jobs.RetriesSigned(task.MaxRetry) == 0
		}},
		"due at": {[]jobs.Option{jobs.At(at)}, func(task rawtask.Task, c signing.Claims, _ jobs.Receipt) bool {
			return task.State == "scheduled" && c.NotBefore.Equal(at) && c.Expires.Equal(at.Add(24*time.Hour))
		}},
		"due at a time that is past": {[]jobs.Option{jobs.At(now.Add(-time.Hour))}, func(task rawtask.Task, c signing.Claims, _ jobs.Receipt) bool {
			return task.State == "pending" && !c.NotBefore.Before(c.IssuedAt) && c.Expires.After(now.Add(23*time.Hour))
		}},
		"due in": {[]jobs.Option{jobs.In(time.Hour)}, func(task rawtask.Task, c signing.Claims, _ jobs.Receipt) bool {
			return task.State == "scheduled" && c.NotBefore.Sub(now).Round(time.Minute) == time.Hour && c.Expires.Sub(c.NotBefore) == 24*time.Hour
		}},
		"the last of in and at": {[]jobs.Option{jobs.In(time.Minute), jobs.At(at)}, func(_ rawtask.Task, c signing.Claims, _ jobs.Receipt) bool { return c.NotBefore.Equal(at) }},
		"at, then at once":      {[]jobs.Option{jobs.At(at), jobs.In(0)}, func(task rawtask.Task, _ signing.Claims, _ jobs.Receipt) bool { return task.State == "pending" }},
		"until":                 {[]jobs.Option{jobs.Until(at)}, func(_ rawtask.Task, c signing.Claims, _ jobs.Receipt) bool { return c.Expires.Equal(at) }},
		"until later than the max age allows": {[]jobs.Option{jobs.Until(now.Add(48 * time.Hour))}, func(_ rawtask.Task, c signing.Claims, _ jobs.Receipt) bool {
			return c.Expires.Before(now.Add(25 * time.Hour))
		}},
		"headers": {[]jobs.Option{jobs.Header("trace", "00-ab"), jobs.Header("tenant", "ö")}, func(task rawtask.Task, _ signing.Claims, _ jobs.Receipt) bool {
			return len(task.Headers) == 3 && task.Headers["trace"] == "00-ab" && task.Headers["tenant"] == "ö"
		}},
	}
	e := newEnqueued(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := e.enqueue(t, noteDef(jobs.Policy{}).With(note{}, test.opts...))
			claims := verifyStored(t, e.reader, e.keys, r.Queue, r.ID)
			if task := e.task(t, r); !test.want(task, claims, r) {
				t.Errorf("task %+v\nclaims %+v\nreceipt %+v", task, claims, r)
			}
		})
	}
}

func TestOptionsOfOneJobDoNotReachAnother(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	shared := jobs.Header("a", "1")
	d := noteDef(jobs.Policy{})
	one, two := d.With(note{}, shared, jobs.Header("b", "2")), d.With(note{}, shared)
	first, second := e.task(t, e.enqueue(t, one)), e.task(t, e.enqueue(t, two))
	if len(first.Headers) != 3 || len(second.Headers) != 2 {
		t.Errorf("headers %v and %v", first.Headers, second.Headers)
	}
	if again := e.task(t, e.enqueue(t, two)); again.ID == second.ID {
		t.Error("one job enqueued twice has one ID")
	}
}

func TestEncryptedJobsCannotBeReadInRedis(t *testing.T) {
	t.Parallel()
	const secret = "the quick brown fox"
	e := newEnqueued(t)
	d := jobs.Define[note]("test:secret", jobs.Policy{Encrypt: true})
	r := e.enqueue(t, d.With(note{User: 7, Text: secret}))
	for _, key := range e.redis.Keys(t.Context(), "*").Val() {
		if dump := e.redis.Dump(t.Context(), key).Val(); strings.Contains(dump, secret) {
			t.Errorf("%s holds the arguments readably", key)
		}
	}
	if msg := fixture.Stored(t, e.redis, r.Queue, r.ID)["msg"]; strings.Contains(msg, secret) {
		t.Error("the message holds the arguments readably")
	}
	v := e.verify(t, r)
	if got, err := d.Decode(v); err != nil || got.Text != secret || !v.Claims().Encrypted {
		t.Errorf("decoded: %+v, %v", got, err)
	}
}

func TestEnqueueRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tests := map[string]struct {
		job  jobs.Job
		want error
		text string
	}{
		"the zero job":                  {jobs.Job{}, nil, "use Def.With"},
		"a unique job":                  {noteDef(jobs.Policy{Unique: true}).With(note{}), nil, "a unique job goes through the outbox (EnqueueTx)"},
		"a job with a unique key":       {noteDef(jobs.Policy{}).With(note{}, jobs.UniqueKey("k")), nil, "EnqueueTx"},
		"a max age over max_lifetime":   {noteDef(jobs.Policy{MaxAge: fixture.MaxLifetime + time.Hour}).With(note{}), signing.ErrLifetimeExceeded, "enqueue test:note: sign: it would live longer than the ring's max_lifetime of 720h"},
		"a delay that leads over it":    {noteDef(jobs.Policy{}).With(note{}, jobs.In(fixture.MaxLifetime)), signing.ErrLifetimeExceeded, "max_lifetime"},
		"a job that is over":            {noteDef(jobs.Policy{}).With(note{}, jobs.Until(now.Add(-time.Second))), signing.ErrLifetimeExceeded, "expire before it is due"},
		"a job over before it is due":   {noteDef(jobs.Policy{}).With(note{}, jobs.In(2*time.Hour), jobs.Until(now.Add(time.Hour))), signing.ErrLifetimeExceeded, "expire before it is due"},
		"a job that was refused before": {noteDef(jobs.Policy{}).With(note{}, jobs.Queue("")), jobs.ErrInvalidName, "queue"},
	}
	e := newEnqueued(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := e.enqueuer.Enqueue(t.Context(), test.job)
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("want %v %q, got %v", test.want, test.text, err)
			}
			if r != (jobs.Receipt{}) {
				t.Errorf("there is a receipt: %+v", r)
			}
			if n := e.redis.DBSize(t.Context()).Val(); n != 0 {
				t.Errorf("%d keys were written", n)
			}
		})
	}
}

func TestEnqueueTellsOfAnIDThatIsTaken(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	job := noteDef(jobs.Policy{}).With(note{}, jobs.ID("one"))
	e.enqueue(t, job)
	r, err := e.enqueuer.Enqueue(t.Context(), job)
	if !errors.Is(err, jobs.ErrAlreadyEnqueued) || !strings.Contains(err.Error(), "one") || r != (jobs.Receipt{}) {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestEnqueueTellsThatRedisIsAway(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	e.server.Stop(t)
	if _, err := e.enqueuer.Enqueue(t.Context(), noteDef(jobs.Policy{}).With(note{})); err == nil || errors.Is(err, jobs.ErrAlreadyEnqueued) {
		t.Errorf("got %v", err)
	}
}

func TestEnqueueManyTriesEveryJob(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	d := noteDef(jobs.Policy{})
	e.enqueue(t, d.With(note{}, jobs.ID("taken")))
	many := make([]jobs.Job, 500)
	for i := range many {
		switch i {
		case 7:
			many[i] = d.With(note{}, jobs.ID("taken"))
		case 99:
			many[i] = d.With(note{}, jobs.Queue("{"))
		default:
			many[i] = d.With(note{User: i}, jobs.ID(fmt.Sprint("job-", i)))
		}
	}
	receipts, err := e.enqueuer.EnqueueMany(t.Context(), many)
	if !errors.Is(err, jobs.ErrAlreadyEnqueued) || !errors.Is(err, jobs.ErrInvalidName) {
		t.Errorf("the error tells of %v", err)
	}
	for i, r := range receipts {
		want := fmt.Sprint("job-", i)
		if i == 7 || i == 99 {
			want = ""
		}
		if r.ID != want {
			t.Errorf("receipt %d is of %q, want %q", i, r.ID, want)
		}
	}
	if n := e.redis.LLen(t.Context(), "asynq:{default}:pending").Val(); n != 499 {
		t.Errorf("%d tasks are pending, want 498 and the one before", n)
	}
	if none, err := e.enqueuer.EnqueueMany(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("no jobs: %v %v", none, err)
	}
}

func TestEnqueueManyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := noteDef(jobs.Policy{})
	receipts, err := e.enqueuer.EnqueueMany(ctx, []jobs.Job{d.With(note{}), d.With(note{})})
	if !errors.Is(err, context.Canceled) || receipts[0].ID != "" || receipts[1].ID != "" {
		t.Errorf("got %v, %v", receipts, err)
	}
}

func TestEnqueueManyStaysWithinItsConcurrency(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	gauge := &gauge{}
	client := e.server.Client(t)
	client.AddHook(gauge)
	enqueuer := newEnqueuer(t, client, e.keys, jobs.Config{Concurrency: 3})
	many := make([]jobs.Job, 200)
	for i := range many {
		many[i] = noteDef(jobs.Policy{}).With(note{})
	}
	if _, err := enqueuer.EnqueueMany(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if most := gauge.most.Load(); most < 2 || most > 3 {
		t.Errorf("%d round trips were under way at once, want up to 3", most)
	}
}

func TestNewEnqueuerNeedsItsParts(t *testing.T) {
	t.Parallel()
	if _, err := jobs.NewEnqueuer(nil, fixture.Keys(t), jobs.Config{}); err == nil {
		t.Error("it works without a client")
	}
	if _, err := jobs.NewEnqueuer(&asynq.Client{}, nil, jobs.Config{}); err == nil {
		t.Error("it works without keys")
	}
}

func TestAnAsynqClientThatSharesTripsServesEnqueuerAndWrap(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	client := jobs.NewAsynqClient(e.redis)
	enqueuer, err := jobs.NewEnqueuer(client, e.keys, jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	def := noteDef(jobs.Policy{})
	var js []jobs.Job
	for i := range 100 {
		js = append(js, def.With(note{User: i}, jobs.ID(fmt.Sprint(i%99)))) // the last has the first one's ID
	}
	receipts, err := enqueuer.EnqueueMany(t.Context(), js)
	if n := strings.Count(fmt.Sprint(err), jobs.ErrAlreadyEnqueued.Error()); n != 1 || !errors.Is(err, jobs.ErrAlreadyEnqueued) {
		t.Errorf("%d of 100 were there already: %v", n, err)
	}
	for _, r := range receipts[1:99] {
		e.verify(t, r)
	}
	info, err := jobs.Wrap(client, e.keys).EnqueueContext(t.Context(), asynq.NewTask("test:note", []byte("{}")))
	if err != nil {
		t.Fatal(err)
	}
	e.verify(t, jobs.Receipt{ID: info.ID, Queue: info.Queue})
}
