package jobs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/internal/fixture"
	"github.com/sealq/sealq/signing"
)

func TestJobAsOutboxRow(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tests := map[string]struct {
		policy jobs.Policy
		opts   []jobs.Option
		want   jobs.Row
	}{
		"by its policy": {
			want: jobs.Row{Queue: "default", Retries: 10, Life: 24 * time.Hour},
		},
		"with options": {
			jobs.Policy{MaxAge: time.Hour},
			[]jobs.Option{jobs.Queue("low"), jobs.MaxRetry(2), jobs.At(now), jobs.Until(now.Add(9)), jobs.UniqueKey("k"), jobs.Header("a", "b")},
			jobs.Row{Queue: "low", Retries: 2, Life: time.Hour, NotBefore: now, ExpiresAt: now.Add(9), UniqueKey: "k", Headers: map[string]string{"a": "b"}},
		},
		"delayed, by the caller's clock": {
			opts: []jobs.Option{jobs.In(time.Minute)},
			want: jobs.Row{Queue: "default", Retries: 10, Life: 24 * time.Hour, NotBefore: now.Add(time.Minute)},
		},
		"unique by its arguments": {
			policy: jobs.Policy{Unique: true},
			want:   jobs.Row{Queue: "default", Retries: 10, Life: 24 * time.Hour, UniqueKey: "test:note:9a6c48fe307602dbd52555612ffe87b31df87a2dd4f1bc5ebfdc5716821b7db8"},
		},
		"not unique after all": {
			policy: jobs.Policy{Unique: true}, opts: []jobs.Option{jobs.UniqueKey("")},
			want: jobs.Row{Queue: "default", Retries: 10, Life: 24 * time.Hour},
		},
		"encrypted only on its way": {
			policy: jobs.Policy{Encrypt: true},
			want:   jobs.Row{Queue: "default", Retries: 10, Life: 24 * time.Hour},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := noteDef(test.policy).With(note{User: 7, Text: "hi"}, test.opts...).Row(now)
			if err != nil {
				t.Fatal(err)
			}
			if uuid.Validate(got.ID) != nil {
				t.Errorf("ID %q", got.ID)
			}
			want := test.want
			want.ID, want.Kind, want.Payload = got.ID, "test:note", []byte(`{"user":7,"text":"hi"}`)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := noteDef(jobs.Policy{}).With(note{}, jobs.ID("mine")).Row(now); !errors.Is(err, jobs.ErrInvalidName) || !strings.Contains(err.Error(), "jobs.ID") {
		t.Errorf("a row with an ID of the caller's: %v", err)
	}
}

func claimed(t *testing.T, d jobs.Def[note], opts ...jobs.Option) jobs.ClaimedRow {
	t.Helper()
	row, err := d.With(note{User: 7, Text: "hi"}, opts...).Row(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if row.NotBefore.IsZero() {
		row.NotBefore = time.Now()
	}
	if row.ExpiresAt.IsZero() {
		row.ExpiresAt = row.NotBefore.Add(row.Life)
	}
	return jobs.ClaimedRow{Row: row, Attempt: 1, LeaseToken: "l"}
}

func TestEnqueueRowNamesAttemptAndEffect(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	d := noteDef(jobs.Policy{})
	row := claimed(t, d, jobs.Header("trace", "00-ab"))
	for attempt := 1; attempt <= 3; attempt++ {
		row.Attempt = attempt
		r, err := e.enqueuer.EnqueueRow(t.Context(), row, d)
		if err != nil {
			t.Fatal(err)
		}
		c := e.verify(t, r).Claims()
		id, n, ok := jobs.RowAttempt(c)
		if !ok || id != row.ID || n != attempt || jobs.EffectOf(c) != row.ID || r.ID != row.TaskID() {
			t.Errorf("attempt %d is task %s of row %s, attempt %d: %v", attempt, r.ID, id, n, ok)
		}
	}
	if len(row.Headers) != 1 {
		t.Errorf("the row's own headers were changed: %v", row.Headers)
	}
	if _, err := e.enqueuer.EnqueueRow(t.Context(), row, d); !errors.Is(err, jobs.ErrAlreadyEnqueued) {
		t.Errorf("an attempt enqueued twice: %v", err)
	}
}

func TestEnqueueRowEndsWithTheRow(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tests := map[string]struct {
		maxAge time.Duration
		opts   []jobs.Option
		want   time.Duration // from now
	}{
		"by the kind's max age":        {time.Hour, []jobs.Option{jobs.Until(now.Add(9 * time.Hour))}, time.Hour},
		"by the max age after its due": {time.Hour, []jobs.Option{jobs.In(time.Minute), jobs.Until(now.Add(9 * time.Hour))}, time.Hour + time.Minute},
		"by the row's end":             {time.Hour, []jobs.Option{jobs.Until(now.Add(time.Minute))}, time.Minute},
		"by the ring's max_lifetime":   {2 * fixture.MaxLifetime, nil, fixture.MaxLifetime},
	}
	e := newEnqueued(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := noteDef(jobs.Policy{MaxAge: test.maxAge})
			r, err := e.enqueuer.EnqueueRow(t.Context(), claimed(t, d, test.opts...), d)
			if err != nil {
				t.Fatal(err)
			}
			if late := r.ExpiresAt.Sub(now) - test.want; late < 0 || late > 5*time.Second {
				t.Errorf("it ends %v late", late)
			}
			verifyStored(t, e.reader, e.keys, r.Queue, r.ID)
		})
	}
	d := noteDef(jobs.Policy{})
	if _, err := e.enqueuer.EnqueueRow(t.Context(), claimed(t, d, jobs.Until(now.Add(-time.Second))), d); !errors.Is(err, signing.ErrLifetimeExceeded) || errors.Is(err, jobs.ErrInvalidRow) {
		t.Errorf("a row past its end: %v", err)
	}
}

// Whoever can insert a row must not get more signed than an outbox would have recorded.
func TestEnqueueRowIsNoSigningOracle(t *testing.T) {
	t.Parallel()
	tests := map[string]func(r *jobs.ClaimedRow){
		"arguments with an unknown name": func(r *jobs.ClaimedRow) { r.Payload = []byte(`{"user":7,"text":"","admin":true}`) },
		"no arguments":                   func(r *jobs.ClaimedRow) { r.Payload = nil },
		"another kind":                   func(r *jobs.ClaimedRow) { r.Kind = "mail:confirmation" },
		"a blank ID":                     func(r *jobs.ClaimedRow) { r.ID = "" },
		"an ID that is another's task":   func(r *jobs.ClaimedRow) { r.ID = "0198c0de-0000-7000-8000-000000000000.1" },
		"a blank queue":                  func(r *jobs.ClaimedRow) { r.Queue = " " },
		"a queue with braces":            func(r *jobs.ClaimedRow) { r.Queue = "a}:t:{b" },
		"negative retries":               func(r *jobs.ClaimedRow) { r.Retries = -1 },
		"absurd retries":                 func(r *jobs.ClaimedRow) { r.Retries = 1 << 40 },
		"attempt zero":                   func(r *jobs.ClaimedRow) { r.Attempt = 0 },
		"another row's effect":           func(r *jobs.ClaimedRow) { r.Headers = map[string]string{signing.EffectHeader: "x"} },
		"a signature of its own":         func(r *jobs.ClaimedRow) { r.Headers = map[string]string{signing.SignatureHeader: "x"} },
		"a header that is no text":       func(r *jobs.ClaimedRow) { r.Headers = map[string]string{"a": "\xff"} },
	}
	e := newEnqueued(t)
	d := noteDef(jobs.Policy{})
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := claimed(t, d)
			change(&row)
			if _, err := e.enqueuer.EnqueueRow(t.Context(), row, d); !errors.Is(err, jobs.ErrInvalidRow) {
				t.Errorf("got %v", err)
			}
			if n := e.redis.DBSize(t.Context()).Val(); n != 0 {
				t.Errorf("%d keys were written", n)
			}
		})
	}
}

func TestRowAttempt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		id, effect string
		attempt    int // 0: no row's
	}{
		"a row's first":                    {"row.1", "row", 1},
		"a row's twelfth":                  {"row.12", "row", 12},
		"a task without effect":            {"row.1", "", 0},
		"a task whose effect is its own":   {"row", "row", 0},
		"an effect of another row":         {"row.1", "other", 0},
		"an attempt zero":                  {"row.0", "row", 0},
		"a negative attempt":               {"row.-1", "row", 0},
		"an attempt with a leading zero":   {"row.01", "row", 0},
		"an attempt with a sign":           {"row.+1", "row", 0},
		"no attempt":                       {"row.", "row", 0},
		"an attempt out of range":          {"row.99999999999999999999", "row", 0},
		"an attempt of an attempt":         {"row.1.1", "row", 0},
		"an attempt that is not a number":  {"row.x", "row", 0},
		"an effect that is empty before .": {".1", "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row, n, ok := jobs.RowAttempt(signing.Claims{ID: test.id, Effect: test.effect})
			if ok != (test.attempt > 0) || n != test.attempt || (ok && row != test.effect) || (!ok && row != "") {
				t.Errorf("got row %q, attempt %d, %v", row, n, ok)
			}
		})
	}
}
