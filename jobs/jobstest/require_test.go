package jobstest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/jobstest"
)

type greeting struct {
	User int    `json:"user"`
	Lang string `json:"lang,omitempty"`
}

type order struct {
	ID int `json:"id"`
}

// tx is a transaction of a database that is not there.
type tx struct{}

func greet(p jobs.Policy) jobs.Def[greeting] { return jobs.Define[greeting]("mail:greet", p) }

func ship() jobs.Def[order] { return jobs.Define[order]("orders:ship", jobs.Policy{Queue: "orders"}) }

func enqueue(t testing.TB, o jobs.Outbox[tx], js ...jobs.Job) {
	t.Helper()
	for _, j := range js {
		if _, err := o.EnqueueTx(t.Context(), tx{}, j); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsEnqueuedIsGivenOutDecoded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	box := jobstest.Outbox[tx]{Now: func() time.Time { return now }}
	def := greet(jobs.Policy{Encrypt: true, MaxAge: 2 * time.Hour})
	enqueue(t, &box, def.With(greeting{User: 1}),
		ship().With(order{ID: 5}),
		def.With(greeting{User: 2, Lang: "de"}, jobs.Queue("slow"), jobs.In(time.Hour), jobs.MaxRetry(3), jobs.Header("trace", "x1"), jobs.UniqueKey("u2")))

	got := jobstest.RequireEnqueued(t, &box, def, greeting{User: 1}, greeting{User: 2, Lang: "de"})
	for i := range got {
		if got[i].ID == "" {
			t.Errorf("job %d has no ID", i)
		}
		got[i].ID = ""
	}
	want := []jobstest.Enqueued[greeting]{
		{Args: greeting{User: 1}, Row: jobstest.Row{State: jobs.RowQueued, Row: jobs.Row{
			Kind: "mail:greet", Queue: "default", Payload: []byte(`{"user":1}`), Retries: jobs.DefaultRetries,
			NotBefore: now, ExpiresAt: now.Add(2 * time.Hour), Life: 2 * time.Hour,
		}}},
		{Args: greeting{User: 2, Lang: "de"}, Row: jobstest.Row{State: jobs.RowQueued, Row: jobs.Row{
			Kind: "mail:greet", Queue: "slow", Payload: []byte(`{"user":2,"lang":"de"}`), Retries: 3, Headers: map[string]string{"trace": "x1"},
			UniqueKey: "u2", NotBefore: now.Add(time.Hour), ExpiresAt: now.Add(3 * time.Hour), Life: 2 * time.Hour,
		}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("enqueued (-want +got):\n%s", diff)
	}
	if one := jobstest.RequireOneEnqueued(t, &box, ship()); one.Args.ID != 5 || one.Queue != "orders" {
		t.Errorf("the one order: %+v", one)
	}
	jobstest.RequireNotEnqueued(t, &box, jobs.Define[order]("orders:cancel", jobs.Policy{}))
}

type requirement = func(t testing.TB, from jobstest.Source)

func enqueued[A any](def jobs.Def[A], want ...A) requirement {
	return func(t testing.TB, from jobstest.Source) { t.Helper(); jobstest.RequireEnqueued(t, from, def, want...) }
}

func oneEnqueued[A any](def jobs.Def[A]) requirement {
	return func(t testing.TB, from jobstest.Source) { t.Helper(); jobstest.RequireOneEnqueued(t, from, def) }
}

func notEnqueued[A any](def jobs.Def[A]) requirement {
	return func(t testing.TB, from jobstest.Source) { t.Helper(); jobstest.RequireNotEnqueued(t, from, def) }
}

func TestARequirementThatDoesNotHoldSaysWhatIsEnqueuedInstead(t *testing.T) {
	t.Parallel()
	def := greet(jobs.Policy{})
	seven, eight := def.With(greeting{User: 7}), def.With(greeting{User: 8})
	shipping := ship().With(order{ID: 5})
	for name, c := range map[string]struct {
		enqueued []jobs.Job
		require  requirement
		want     []string
	}{
		"none of the kind": {
			[]jobs.Job{shipping},
			enqueued(def, greeting{User: 7}),
			[]string{"want:\n  mail:greet {\"user\":7}\ngot:\n  orders:ship {\"id\":5} in queue \"orders\""},
		},
		"nothing at all": {
			nil,
			enqueued(def, greeting{User: 7}),
			[]string{"got:\n  nothing at all"},
		},
		"other arguments": {
			[]jobs.Job{eight},
			enqueued(def, greeting{User: 7}),
			[]string{`mail:greet {"user":7}`, `mail:greet {"user":8} in queue "default"`},
		},
		"one too many": {
			[]jobs.Job{seven, eight},
			enqueued(def, greeting{User: 7}),
			[]string{`{"user":8}`},
		},
		"one too few": {
			[]jobs.Job{seven},
			enqueued(def, greeting{User: 7}, greeting{User: 7}),
			[]string{"want:\n  mail:greet {\"user\":7}\n  mail:greet {\"user\":7}\ngot:\n  mail:greet {\"user\":7} in queue"},
		},
		"another order": {
			[]jobs.Job{eight, seven},
			enqueued(def, greeting{User: 7}, greeting{User: 8}),
			[]string{`{"user":8}`},
		},
		"a requirement of nothing": {
			nil,
			enqueued(def),
			[]string{"RequireNotEnqueued", "RequireOneEnqueued"},
		},
		"a wanted job that would be refused": {
			nil,
			enqueued(def, greeting{Lang: "\xff"}),
			[]string{"would be refused", "invalid arguments"},
		},
		"two where one is wanted": {
			[]jobs.Job{seven, eight},
			oneEnqueued(def),
			[]string{"2 mail:greet jobs are enqueued instead of one", `{"user":7}`, `{"user":8}`},
		},
		"none where one is wanted": {
			[]jobs.Job{shipping},
			oneEnqueued(def),
			[]string{"0 mail:greet jobs are enqueued instead of one", `orders:ship {"id":5}`},
		},
		"one where none is wanted": {
			[]jobs.Job{seven},
			notEnqueued(def),
			[]string{"1 mail:greet jobs are enqueued instead of none", `mail:greet {"user":7}`},
		},
		"a faulty definition": {
			nil,
			notEnqueued(jobs.Define[order]("", jobs.Policy{})),
			[]string{"the kind is blank"},
		},
		"arguments that no worker would decode": {
			[]jobs.Job{jobs.Define[map[string]any]("mail:greet", jobs.Policy{}).With(map[string]any{"user": 7, "admin": true})},
			oneEnqueued(def),
			[]string{"no worker would take this job", "admin"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var box jobstest.Outbox[tx]
			enqueue(t, &box, c.enqueued...)
			got := failureOf(t, func(t testing.TB) { t.Helper(); c.require(t, &box) })
			if !strings.HasPrefix(got, "jobstest: ") {
				t.Errorf("the requirement did not fail as jobstest's: %q", got)
			}
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("the failure lacks %q:\n%s", want, got)
				}
			}
		})
	}
}

type broken struct{}

func (broken) Rows(context.Context) ([]jobstest.Row, error) {
	return nil, errors.New("the disk is gone")
}

func TestASourceThatCannotBeReadFailsEveryRequirement(t *testing.T) {
	t.Parallel()
	for name, require := range map[string]requirement{
		"RequireEnqueued": enqueued(ship(), order{}), "RequireOneEnqueued": oneEnqueued(ship()), "RequireNotEnqueued": notEnqueued(ship()),
	} {
		if got := failureOf(t, func(t testing.TB) { t.Helper(); require(t, broken{}) }); !strings.Contains(got, "the disk is gone") {
			t.Errorf("%s failed with %q", name, got)
		}
	}
}

func TestTheOutboxRefusesWhatADatabaseRefuses(t *testing.T) {
	t.Parallel()
	def := greet(jobs.Policy{Unique: true})
	var box jobstest.Outbox[tx]
	put := func(j jobs.Job) (string, error) { return box.EnqueueTx(t.Context(), tx{}, j) }
	if _, err := put(def.With(greeting{}, jobs.ID("mine"))); !errors.Is(err, jobs.ErrInvalidName) {
		t.Errorf("an ID of the job's own: %v", err)
	}
	if _, err := put(def.With(greeting{}, jobs.MaxRetry(-7), jobs.Queue("{x}"))); !errors.Is(err, jobs.ErrInvalidName) {
		t.Errorf("a faulty queue: %v", err)
	}
	id, err := put(def.With(greeting{User: 7}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(def.With(greeting{User: 7})); !errors.Is(err, jobs.ErrDuplicate) {
		t.Errorf("the same once more: %v", err)
	}
	if _, err := put(def.With(greeting{User: 8})); err != nil {
		t.Errorf("another one: %v", err)
	}
	jobstest.RequireEnqueued(t, &box, def, greeting{User: 7}, greeting{User: 8})
	if err := box.RowDone(t.Context(), jobs.RowRef{ID: id, Kind: def.Kind()}); err != nil {
		t.Fatal(err)
	}
	if _, err := put(def.With(greeting{User: 7})); err != nil {
		t.Errorf("the key of a row that is done is free again: %v", err)
	}
}

func TestTheOutboxEndsRowsAsADatabaseDoes(t *testing.T) {
	t.Parallel()
	ctx, def := t.Context(), ship()
	var box jobstest.Outbox[tx]
	enqueue(t, &box, ship().With(order{ID: 1}), ship().With(order{ID: 2}))
	state := func(i int) jobs.RowState {
		rows, _ := box.Rows(ctx)
		return rows[i].State
	}
	rows, _ := box.Rows(ctx)
	first, second := rows[0].ID, rows[1].ID
	for want := range 3 {
		if got, _ := box.RowFailed(ctx, jobs.RowRef{ID: first, Kind: def.Kind(), Attempt: 1}, "no paper", nil); got != want+1 {
			t.Errorf("failure %d is counted as %d", want+1, got)
		}
	}
	_ = box.RowDead(ctx, jobs.RowRef{ID: first, Kind: def.Kind(), Attempt: 1}, "no paper")
	if got, _ := box.RowFailed(ctx, jobs.RowRef{ID: first, Kind: def.Kind(), Attempt: 1}, "no paper", nil); got != 0 || state(0) != jobs.RowDead {
		t.Errorf("a dead row is %s and counts a failure as %d", state(0), got)
	}
	_ = box.RowDone(ctx, jobs.RowRef{ID: second, Kind: def.Kind()})
	_ = box.RowDead(ctx, jobs.RowRef{ID: second, Kind: def.Kind(), Attempt: 1}, "late")
	if state(1) != jobs.RowDone {
		t.Errorf("a row that is done has become %s", state(1))
	}
	_ = box.RowDone(ctx, jobs.RowRef{ID: first, Kind: def.Kind()}) // its effect is committed after all
	if state(0) != jobs.RowDone {
		t.Errorf("a dead row whose effect is committed is %s", state(0))
	}
}
