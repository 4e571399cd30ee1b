package judge_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/signing/attack"
)

const audience = "prod-eu"

var now = time.Date(2026, 1, 31, 3, 0, 0, 0, time.UTC)

// source is a ring in memory that counts how often it is read.
type source struct {
	ring  *signing.Ring
	loads int
}

func (s *source) Load(context.Context) (*signing.Ring, error) { s.loads++; return s.ring, nil }
func (*source) String() string                                { return "memory" }

func newRing(t *testing.T) *signing.Ring {
	t.Helper()
	ring, err := signing.NewRing(now.Add(-attack.MinKeyAge-time.Hour), 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func open(t *testing.T, ring *signing.Ring, clock func() time.Time) *signing.Keys {
	t.Helper()
	keys, err := signing.OpenWith(t.Context(), &source{ring: ring}, audience, signing.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	return keys
}

func still() time.Time { return now }

// ledger knows effects by kind and ID.
type ledger map[string]bool

func (l ledger) EffectCommitted(_ context.Context, kind jobs.Kind, effect string) (bool, error) {
	return l[string(kind)+" "+effect], nil
}

type note struct {
	Note string `json:"note"`
}

// kinds are those of the tests: one readable, one encrypted, one without a ledger.
func kinds(t *testing.T) *jobs.Catalog {
	t.Helper()
	catalog, err := jobs.NewCatalog(
		jobs.Define[note]("test:note", jobs.Policy{Queue: "mail", MaxAge: time.Hour}),
		jobs.Define[note]("test:secret", jobs.Policy{Queue: "mail", MaxAge: time.Hour, Encrypt: true}),
		jobs.Define[note]("test:again", jobs.Policy{Queue: "mail", MaxAge: time.Hour, NoLedger: true}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

func newJudge(t *testing.T, c judge.Config) *judge.Judge {
	t.Helper()
	if c.Catalog == nil {
		c.Catalog = kinds(t)
	}
	j, err := judge.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// lying is a task as it lies under its own key.
func lying(t signing.Task) rawtask.Found {
	return rawtask.Found{Queue: t.Queue, ID: t.ID, Message: rawtask.Message{
		Kind: t.Kind, ID: t.ID, Queue: t.Queue, Payload: t.Payload, Headers: t.Headers, MaxRetry: t.MaxRetry,
	}}
}

// signed is a task of that kind and payload, signed for an hour.
func signed(t *testing.T, keys *signing.Keys, kind, queue, payload string, v signing.Validity) signing.Task {
	t.Helper()
	if v.Expires.IsZero() {
		v.Expires = now.Add(time.Hour)
	}
	task := signing.Task{Kind: kind, ID: "row.1", Queue: queue, MaxRetry: 110, Payload: []byte(payload), Headers: map[string]string{signing.EffectHeader: "row"}}
	sig, travels, err := keys.Sign(task, v)
	if err != nil {
		t.Fatal(err)
	}
	task.Headers[signing.SignatureHeader], task.Payload = sig, travels
	return task
}

func TestTheCorpusIsJudgedAsAWorkerWould(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	catalog, err := jobs.NewCatalog(
		jobs.Define[struct{}]("mail:confirmation", jobs.Policy{MaxAge: time.Hour}), jobs.Define[struct{}]("mail:secret", jobs.Policy{MaxAge: time.Hour, Encrypt: true}))
	if err != nil {
		t.Fatal(err)
	}
	forge, err := attack.NewForge(attack.Config{
		Ring: ring, Audience: audience, Now: still, Queue: "mail", OtherQueue: "critical", Kind: "mail:confirmation", EncryptedKind: "mail:secret", Payload: []byte("{}"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(attack.Cases(), forge.Bits()...) {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			shot, err := c.Make(forge)
			if err != nil {
				t.Fatal(err)
			}
			held := ring
			if shot.Ring != nil {
				held = shot.Ring
			}
			effects := ledger{}
			if shot.First != nil {
				effects[shot.First.Kind+" "+jobs.EffectOf(signing.Claims{ID: shot.First.ID, Effect: shot.First.Headers[signing.EffectHeader]})] = true
			}
			j := newJudge(t, judge.Config{Keys: open(t, held, still), Catalog: catalog, Queues: []string{"mail", "critical"}, Effects: effects})
			f := lying(shot.Task)
			f.Queue, f.ID = shot.List, shot.ID
			got, err := j.Judge(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			outcome := judge.Refused
			switch {
			case c.Deferred:
				outcome = judge.Deferred
			case c.Want == "":
				outcome = judge.Done
			}
			if got.Outcome != outcome || got.Reason != c.Want || got.RetryAt.IsZero() == c.Deferred {
				t.Errorf("want %s %s, got %s %s, again at %v", outcome, c.Want, got.Outcome, got.Reason, got.RetryAt)
			}
			if args, ok := got.Args(); ok && outcome != judge.Done {
				t.Errorf("it gave out %q", args)
			}
			if got.Authentic != (c.Want == "" || c.Want.Authentic()) || !got.Authentic && (got.Effect != "" || !got.Expires.IsZero()) {
				t.Errorf("authentic: got %v, of effect %q", got.Authentic, got.Effect)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	keys := open(t, newRing(t), still)
	kid := keys.Infos()[0].KID.String()
	good := signed(t, keys, "test:note", "mail", `{"note":"hello"}`, signing.Validity{})
	served := []string{"mail", "critical"}
	type want struct {
		Outcome judge.Outcome
		Reason  signing.Reason
		KID     string
		Ledger  judge.Ledger
		Args    string
	}
	tests := map[string]struct {
		task  signing.Task
		place string // "" for its own
		c     judge.Config
		want  want
	}{
		"one that verifies": {good, "", judge.Config{Effects: ledger{}}, want{judge.Passed, "", kid, judge.LedgerAsked, `{"note":"hello"}`}},
		"one whose effect is committed": {
			good, "", judge.Config{Effects: ledger{"test:note row": true}}, want{judge.Done, "", kid, judge.LedgerAsked, `{"note":"hello"}`},
		},
		"the effect is another kind's": {
			good, "", judge.Config{Effects: ledger{"test:again row": true}}, want{judge.Passed, "", kid, judge.LedgerAsked, `{"note":"hello"}`},
		},
		"no ledger here": {good, "", judge.Config{}, want{judge.Passed, "", kid, judge.LedgerNotAsked, `{"note":"hello"}`}},
		"a kind without a ledger": {
			signed(t, keys, "test:again", "mail", `{"note":""}`, signing.Validity{}), "",
			judge.Config{Effects: ledger{"test:again row": true}},
			want{judge.Passed, "", kid, judge.LedgerNotNeeded, `{"note":""}`},
		},
		"an encrypted one": {
			signed(t, keys, "test:secret", "mail", `{"note":"s"}`, signing.Validity{Encrypt: true}), "",
			judge.Config{Effects: ledger{}},
			want{judge.Passed, "", kid, judge.LedgerAsked, `{"note":"s"}`},
		},
		"one that should be encrypted": {
			signed(t, keys, "test:secret", "mail", `{"note":"s"}`, signing.Validity{}), "",
			judge.Config{},
			want{judge.Refused, signing.ReasonMustBeEncrypted, kid, judge.LedgerNotNeeded, ""},
		},
		"arguments of another kind": {
			signed(t, keys, "test:note", "mail", `{"other":"tell-nobody"}`, signing.Validity{}), "",
			judge.Config{Effects: ledger{}},
			want{judge.Refused, signing.ReasonBadPayload, kid, judge.LedgerAsked, ""},
		},
		"one that was done, with arguments of another kind": {
			signed(t, keys, "test:note", "mail", `{"other":"tell-nobody"}`, signing.Validity{}), "",
			judge.Config{Effects: ledger{"test:note row": true}},
			want{judge.Done, "", kid, judge.LedgerAsked, ""},
		},
		"one that is due in an hour": {
			signed(t, keys, "test:note", "mail", `{"note":"tell-nobody"}`, signing.Validity{NotBefore: now.Add(time.Hour), Expires: now.Add(2 * time.Hour)}), "",
			judge.Config{Effects: ledger{}},
			want{judge.Deferred, signing.ReasonNotYetDue, kid, judge.LedgerAsked, ""},
		},
		"a copy in another queue that the same workers serve": {
			good, "critical", judge.Config{Queues: served}, want{judge.Passed, "", kid, judge.LedgerNotAsked, `{"note":"hello"}`},
		},
		"a copy of another queue's": {
			signed(t, keys, "test:note", "partner", `{"note":"x"}`, signing.Validity{}), "mail",
			judge.Config{Queues: served},
			want{judge.Refused, signing.ReasonWrongQueue, kid, judge.LedgerNotNeeded, ""},
		},
		"a kind that nobody here knows, in a queue of ours": {
			signed(t, keys, "app:own", "mail", `tell-nobody`, signing.Validity{}), "",
			judge.Config{Queues: served},
			want{judge.Refused, signing.ReasonKindNotAllowed, kid, judge.LedgerNotNeeded, ""},
		},
		"a kind that nobody here knows, in a queue of others": {
			signed(t, keys, "app:own", "partner", `tell-nobody`, signing.Validity{}), "",
			judge.Config{Queues: served},
			want{judge.NotJudged, "", kid, judge.LedgerNotNeeded, ""},
		},
		"an unsigned one in a queue of others": {
			signing.Task{Kind: "app:own", ID: "a", Queue: "partner"},
			"",
			judge.Config{Queues: served},
			want{judge.Refused, signing.ReasonMissingSignature, "", judge.LedgerNotNeeded, ""},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.c.Keys = keys
			f := lying(test.task)
			if test.place != "" {
				f.Queue = test.place
			}
			v, err := newJudge(t, test.c).Judge(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			args, _ := v.Args()
			if diff := cmp.Diff(test.want, want{v.Outcome, v.Reason, v.KID, v.Ledger, string(args)}); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if strings.Contains(v.Detail, "tell-nobody") || v.Detail == "" {
				t.Errorf("detail: %s", v.Detail)
			}
		})
	}
}

func TestWhatNoWorkerIsAskedAbout(t *testing.T) {
	t.Parallel()
	keys := open(t, newRing(t), still)
	good := lying(signed(t, keys, "test:note", "mail", `{"note":"hello"}`, signing.Validity{}))
	with := func(err error) rawtask.Found {
		f := good
		f.Err = err
		return f
	}
	tests := map[string]struct {
		keys  *signing.Keys
		found rawtask.Found
		want  judge.Outcome
	}{
		"no message":                       {keys, with(rawtask.ErrNoTask), judge.MalformedMessage},
		"one that asynq cannot decode":     {keys, with(rawtask.ErrUndecodable), judge.MalformedMessage},
		"one that was not read":            {keys, with(rawtask.ErrTooLarge), judge.NotJudged},
		"any, without keys":                {nil, good, judge.NotJudged},
		"none that is read, without keys":  {nil, with(rawtask.ErrUndecodable), judge.MalformedMessage},
		"one that is read, and there, too": {keys, good, judge.Passed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := newJudge(t, judge.Config{Keys: test.keys}).Judge(t.Context(), test.found)
			if err != nil || v.Outcome != test.want {
				t.Errorf("want %s, got %+v, %v", test.want, v, err)
			}
			if _, ok := v.Args(); ok != (test.want == judge.Passed) {
				t.Errorf("arguments given out: %v", ok)
			}
		})
	}
}

// broken is a ledger that cannot be asked.
type broken struct{}

var errAway = errors.New("the database is away")

func (broken) EffectCommitted(context.Context, jobs.Kind, string) (bool, error) {
	return false, errAway
}

func TestALedgerThatCannotBeAskedIsAnError(t *testing.T) {
	t.Parallel()
	keys := open(t, newRing(t), still)
	f := lying(signed(t, keys, "test:note", "mail", `{"note":"hello"}`, signing.Validity{}))
	if v, err := newJudge(t, judge.Config{Keys: keys, Effects: broken{}}).Judge(t.Context(), f); !errors.Is(err, errAway) || v.Outcome != "" {
		t.Errorf("got %+v, %v", v, err)
	}
}

// TestManyUnknownKeysReadTheRingOnce: whoever looks at a queue full of forgeries must not make a storm of loads.
func TestManyUnknownKeysReadTheRingOnce(t *testing.T) {
	t.Parallel()
	stranger := open(t, newRing(t), still)
	src := &source{ring: newRing(t)}
	keys, err := signing.OpenWith(t.Context(), src, audience, signing.Options{Now: still})
	if err != nil {
		t.Fatal(err)
	}
	j := newJudge(t, judge.Config{Keys: keys})
	f := lying(signed(t, stranger, "test:note", "mail", `{"note":"hello"}`, signing.Validity{}))
	for range 100 {
		v, err := j.Judge(t.Context(), f)
		if err != nil || v.Outcome != judge.Deferred || v.Reason != signing.ReasonUnknownKey || v.KID != "" {
			t.Fatalf("got %+v, %v", v, err)
		}
	}
	keys.Close() // waits for a load
	if src.loads > 2 {
		t.Errorf("the ring was read %d times", src.loads)
	}
}

func TestNewNeedsACatalog(t *testing.T) {
	t.Parallel()
	if _, err := judge.New(judge.Config{}); err == nil {
		t.Error("a judge without a catalog was made")
	}
}
