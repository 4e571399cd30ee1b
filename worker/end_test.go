package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// full is a quarantine that has no room for what was signed.
type full struct{}

func (full) Keep(_ context.Context, r jobs.Refused) error {
	if r.Authentic {
		return quarantine.ErrFull
	}
	return nil
}

// firstEnd runs a worker until it tells how a look at a task ended.
func firstEnd(t *testing.T, r *rig, c worker.Config, next asynq.Handler, enqueue func()) worker.End {
	t.Helper()
	ends := make(chan worker.End, 100)
	c.OnEnd = func(_ context.Context, e worker.End) { ends <- e }
	r.serve(t, r.verifier(t, c), next, asynq.Config{Concurrency: 1, Queues: map[string]int{"default": 1}})
	enqueue()
	select {
	case e := <-ends:
		return e
	case <-time.After(patience):
		t.Fatal("nobody was told of an end")
		return worker.End{}
	}
}

// unlessRan ignores how long a handler ran, where it did.
var unlessRan = cmpopts.IgnoreFields(worker.End{}, "Took")

func TestHowATypedHandlersRunEndedIsTold(t *testing.T) {
	t.Parallel()
	const kind = jobs.Kind("mail:welcome")
	tests := map[string]struct {
		err     error
		panics  bool
		retries int
		want    worker.End
	}{
		"done":                     {want: worker.End{Kind: kind, Result: worker.ResultDone, Ran: true}},
		"failed":                   {err: errors.New("no"), retries: 3, want: worker.End{Kind: kind, Result: worker.ResultFailed, Ran: true}},
		"panicked":                 {panics: true, retries: 3, want: worker.End{Kind: kind, Result: worker.ResultFailed, Ran: true}},
		"failed for the last time": {err: errors.New("no"), retries: jobs.NoRetries, want: worker.End{Kind: kind, Result: worker.ResultDead, Ran: true}},
		"failed for good":          {err: worker.Permanent(errors.New("no")), retries: 3, want: worker.End{Kind: kind, Result: worker.ResultDead, Ran: true}},
		"put off by its handler": {err: worker.Defer(time.Now().Add(time.Hour), errors.New("later")), want: worker.End{
			Kind: kind, Result: worker.ResultDeferred, Cause: worker.CauseHandler, Ran: true,
		}},
		"an outage": {err: worker.Outage("smtp", errors.New("no")), want: worker.End{
			Kind: kind, Result: worker.ResultDeferred, Cause: worker.CauseOutage, Ran: true,
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			def := jobs.Define[welcome](kind, jobs.Policy{Retries: test.retries})
			h := worker.NewHandlers(worker.HandlersConfig{})
			worker.Handle(h, def, func(context.Context, worker.Job[welcome]) error {
				if test.panics {
					panic("no")
				}
				return test.err
			})
			got := firstEnd(t, r, worker.Config{}, h, func() {
				_, err := r.enqueuer(t).Enqueue(t.Context(), def.With(welcome{}))
				if err != nil {
					t.Error(err)
				}
			})
			if diff := cmp.Diff(test.want, got, unlessRan); diff != "" {
				t.Errorf("end (-want +got):\n%s", diff)
			}
			if got.Took < 0 {
				t.Errorf("it took %v", got.Took)
			}
		})
	}
}

func TestWhyATaskIsPutOffIsTold(t *testing.T) {
	t.Parallel()
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
	tests := map[string]struct {
		config worker.Config
		tx     bool
		put    func(t *testing.T, r *rig)
		want   worker.End
	}{
		"its time has not come": {
			put: func(t *testing.T, r *rig) {
				t.Helper()
				task := signing.Task{Kind: "mail:welcome", ID: "early", Queue: "default", Payload: []byte(`{"user_id":1}`), MaxRetry: 9}
				sig, _, err := r.keys.Sign(task, signing.Validity{NotBefore: time.Now().Add(time.Hour), Expires: time.Now().Add(2 * time.Hour)})
				if err != nil {
					t.Fatal(err)
				}
				task.Headers = map[string]string{signing.SignatureHeader: sig}
				r.put(t, task, task, nil)
			},
			want: worker.End{Result: worker.ResultDeferred, Cause: worker.CauseNotYetDue},
		},
		"the ledger is away": {
			config: worker.Config{Effects: away{}},
			want:   worker.End{Result: worker.ResultDeferred, Cause: worker.CauseStore},
		},
		"the ledger is away when the effect is entered": {
			tx:   true,
			want: worker.End{Kind: "mail:welcome", Result: worker.ResultDeferred, Cause: worker.CauseStore, Ran: true},
		},
		"what is reserved in the quarantine is full": {
			config: worker.Config{Quarantine: full{}},
			put: func(t *testing.T, r *rig) {
				t.Helper()
				task := signing.Task{Kind: "mail:welcome", ID: "odd", Queue: "default", Payload: []byte(`no JSON`), MaxRetry: 9}
				r.put(t, task, task, r.keys)
			},
			want: worker.End{Kind: "mail:welcome", Result: worker.ResultDeferred, Cause: worker.CauseQuarantineFull, Ran: true},
		},
		"the quarantine is away": {
			config: worker.Config{Quarantine: &memory{broken: true}},
			put: func(t *testing.T, r *rig) {
				t.Helper()
				r.put(t, signing.Task{Kind: "forged", ID: "forged", Queue: "default", MaxRetry: 9}, signing.Task{}, nil)
			},
			want: worker.End{Result: worker.ResultDeferred, Cause: worker.CauseStore},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			h := worker.NewHandlers(worker.HandlersConfig{})
			if test.tx {
				book := new(countingLedger)
				book.away.Store(true)
				worker.HandleTx(h, book, def, func(context.Context, string, worker.Job[welcome]) error { return nil })
			} else {
				worker.Handle(h, def, func(context.Context, worker.Job[welcome]) error { return nil })
			}
			got := firstEnd(t, r, test.config, h, func() {
				if test.put != nil {
					test.put(t, r)
					return
				}
				if _, err := r.enqueuer(t).Enqueue(t.Context(), def.With(welcome{})); err != nil {
					t.Error(err)
				}
			})
			if diff := cmp.Diff(test.want, got, unlessRan); diff != "" {
				t.Errorf("end (-want +got):\n%s", diff)
			}
		})
	}
}

// away is a ledger that cannot be read.
type away struct{}

func (away) EffectDone(context.Context, jobs.Kind, string) (bool, error) { return false, errAway }

func TestALimitAndARunUnderWayAreToldAsCauses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limits map[jobs.Kind]worker.Limit
		same   bool // the second task is of the first one's effect
		want   worker.Cause
	}{
		"its kind is at its limit":              {map[jobs.Kind]worker.Limit{"mail:welcome": {Concurrency: 1}}, false, worker.CauseLimit},
		"a run of the same effect is under way": {nil, true, worker.CauseRunning},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
			h := worker.NewHandlers(worker.HandlersConfig{Limits: test.limits})
			release := make(chan struct{})
			worker.Handle(h, def, func(context.Context, worker.Job[welcome]) error { <-release; return nil })
			ends := make(chan worker.End, 100)
			v := r.verifier(t, worker.Config{OnEnd: func(_ context.Context, e worker.End) { ends <- e }})
			r.serve(t, v, h, asynq.Config{Concurrency: 2})
			first := row(t, def.With(welcome{}))
			second := row(t, def.With(welcome{}))
			if test.same {
				second = first
				second.Attempt++
			}
			for _, claimed := range []jobs.ClaimedRow{first, second} {
				if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
					t.Fatal(err)
				}
			}
			want := worker.End{Kind: "mail:welcome", Result: worker.ResultDeferred, Cause: test.want}
			if diff := cmp.Diff(want, <-ends); diff != "" {
				t.Errorf("end (-want +got):\n%s", diff)
			}
			close(release)
		})
	}
}

// What the verdict has told already is not told as an end too.
func TestARefusalAndADuplicateHaveNoEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var book ledger
	def := jobs.Define[welcome]("mail:welcome", jobs.Policy{})
	h := worker.NewHandlers(worker.HandlersConfig{})
	worker.HandleTx(h, &book, def, func(context.Context, string, worker.Job[welcome]) error { return nil })
	var verdicts calls
	ends := make(chan worker.End, 100)
	v := r.verifier(t, worker.Config{
		OnVerdict: func(_ context.Context, v worker.Verdict) { verdicts.add(string(v.Outcome)) },
		OnEnd:     func(_ context.Context, e worker.End) { ends <- e },
	})
	r.serve(t, v, h, asynq.Config{Concurrency: 1})
	claimed := row(t, def.With(welcome{}))
	for range 2 {
		if _, err := r.enqueuer(t).EnqueueRow(t.Context(), claimed, def); err != nil {
			t.Fatal(err)
		}
		claimed.Attempt++
	}
	r.put(t, signing.Task{Kind: "forged", ID: "forged", Queue: "default", MaxRetry: 9}, signing.Task{}, nil)
	odd := signing.Task{Kind: "mail:welcome", ID: "odd", Queue: "default", Payload: []byte(`no JSON`), MaxRetry: 9}
	r.put(t, odd, odd, r.keys)
	eventually(t, "all have a verdict", func() bool { return len(verdicts.all()) == 5 }) // the odd one passed before it was refused
	if diff := cmp.Diff(worker.End{Kind: "mail:welcome", Result: worker.ResultDone, Ran: true}, <-ends, unlessRan); diff != "" {
		t.Errorf("end (-want +got):\n%s", diff)
	}
	select {
	case e := <-ends:
		t.Errorf("a second end is told: %+v", e)
	default:
	}
}
