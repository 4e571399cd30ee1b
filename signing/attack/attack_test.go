package attack_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/signing/attack"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func newRing(tb testing.TB) *signing.Ring {
	tb.Helper()
	r, err := signing.NewRing(now.Add(-48*time.Hour), 24*time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// config describes the target of these tests. A nil ring means that its keys are not known.
func config(r *signing.Ring) attack.Config {
	return attack.Config{
		Ring: r, Audience: "prod-eu", Now: func() time.Time { return now }, Queue: "mail", OtherQueue: "critical",
		UnservedQueue: "reports", Kind: "mail:confirmation", EncryptedKind: "mail:reset",
	}
}

func newForge(tb testing.TB, c attack.Config) *attack.Forge {
	tb.Helper()
	f, err := attack.NewForge(c)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// source holds one ring.
type source struct{ ring *signing.Ring }

func (s source) Load(context.Context) (*signing.Ring, error) { return s.ring, nil }
func (source) String() string                                { return "memory" }

// fire lets a target that holds the ring verify the shot. The effects of genuine tasks that came first are done.
func fire(t *testing.T, f *attack.Forge, ring *signing.Ring, s attack.Shot) (signing.Verified, error) {
	t.Helper()
	if s.Ring != nil {
		ring = s.Ring
	}
	keys, err := signing.OpenWith(t.Context(), source{ring}, "prod-eu", signing.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	done := map[string]bool{}
	rules := signing.Rules{
		ServesQueue: f.Served, Kind: f.Kind,
		Done: func(_ context.Context, c signing.Claims) (bool, error) { return done[c.Effect], nil },
	}
	if s.First != nil {
		v, err := keys.VerifyWith(t.Context(), *s.First, s.First.Headers[signing.SignatureHeader], rules)
		if err != nil {
			t.Fatalf("the genuine task that comes first: %v", err)
		}
		done[v.Claims().Effect] = true
	}
	return keys.VerifyWith(t.Context(), s.Task, s.Signature(), rules)
}

func requireOutcome(t *testing.T, c attack.Case, v signing.Verified, err error) {
	t.Helper()
	if v.Payload() != nil || v.Claims() != (signing.Claims{}) {
		t.Errorf("it gave out %q of %v", v.Payload(), v.Claims())
	}
	if c.Want == "" {
		if !errors.Is(err, signing.ErrDone) {
			t.Errorf("want done, got %v", err)
		}
		return
	}
	var r *signing.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("want %s, got %v", c.Want, err)
	}
	if diff := cmp.Diff(c.Want, r.Reason); diff != "" {
		t.Errorf("reason of %q (-want +got):\n%s", r, diff)
	}
	if diff := cmp.Diff(c.Deferred, r.Deferred()); diff != "" {
		t.Errorf("deferred (-want +got):\n%s", diff)
	}
}

func TestEveryCaseIsRefused(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	f := newForge(t, config(ring))
	for _, c := range append(attack.Cases(), f.Bits()...) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			s, err := c.Make(f)
			if err != nil {
				t.Fatal(err)
			}
			v, err := fire(t, f, ring, s)
			requireOutcome(t, c, v, err)
		})
	}
}

// TestCasesWithoutKeys fires what a forge without a ring can make at a target that it knows nothing of.
func TestCasesWithoutKeys(t *testing.T) {
	t.Parallel()
	blind := newForge(t, config(nil))
	ring := newRing(t)
	made := 0
	for _, c := range attack.Cases() {
		s, err := c.Make(blind)
		if c.NeedsKeys {
			if !errors.Is(err, attack.ErrUnsuitable) || !strings.Contains(err.Error(), c.Name) {
				t.Errorf("%s was made without keys: %v", c, err)
			}
			continue
		}
		made++
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err != nil {
				t.Fatal(err)
			}
			if s.Ring != nil || s.First != nil {
				t.Error("it wants something of a target of which only the queue is known")
			}
			v, err := fire(t, blind, ring, s)
			requireOutcome(t, c, v, err)
		})
	}
	if made < 30 {
		t.Errorf("only %d cases need no keys", made)
	}
}

func TestTheGenuineTaskVerifies(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	c := config(ring)
	c.Payload = []byte(`{"pending_id":"p"}`)
	f := newForge(t, c)
	s, err := f.Genuine()
	if err != nil {
		t.Fatal(err)
	}
	v, err := fire(t, f, ring, s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"pending_id":"p"}`, string(v.Payload())); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	if s.List != "mail" || s.ID != s.Task.ID || !strings.HasPrefix(s.ID, "attack-") || s.Ring != nil || s.First != nil {
		t.Errorf("got %+v", s)
	}
	again, err := f.Genuine()
	if err != nil || again.ID == s.ID {
		t.Errorf("two tasks have the ID %s: %v", s.ID, err)
	}
}

func TestTheTable(t *testing.T) {
	t.Parallel()
	cases := attack.Cases()
	if len(cases) < 90 {
		t.Errorf("only %d cases", len(cases))
	}
	f := newForge(t, config(newRing(t)))
	bits := f.Bits()
	if diff := cmp.Diff(78*8, len(bits)); diff != "" {
		t.Errorf("bits (-want +got):\n%s", diff)
	}
	names, classes := map[string]bool{}, map[attack.Class]int{}
	for _, c := range cases {
		if names[c.Name] || c.Name == "" || c.Class == "" {
			t.Errorf("%q of class %q is there twice or lacks something", c.Name, c.Class)
		}
		names[c.Name] = true
		classes[c.Class]++
	}
	for _, class := range []attack.Class{
		attack.Form, attack.Header, attack.Key, attack.Boundary, attack.Payload, attack.Time, attack.KeyState, attack.Replay, attack.Mux, attack.Copy,
	} {
		if classes[class] < 7 {
			t.Errorf("only %d cases of class %q", classes[class], class)
		}
	}
	reasons := map[signing.Reason]bool{}
	for _, c := range cases {
		reasons[c.Want] = true
	}
	if len(reasons) != 15 { // 14 reasons, and done
		t.Errorf("the cases want %v only", reasons)
	}
}

// TestBoundaryMovesKeepTheBytes requires of the moves that joining what the tag covers, without lengths, gives the same bytes
// as of the genuine task: else they would be no test of the lengths.
func TestBoundaryMovesKeepTheBytes(t *testing.T) {
	t.Parallel()
	f := newForge(t, config(newRing(t)))
	joined := func(s signing.Task) string {
		// The ID is a task's own, and so is the effect's.
		all := s.Queue + s.Kind + s.ID
		for _, n := range []string{signing.EffectHeader, "tenan", "tenant", "tenanta", "raceparent", "etraceparent", "traceparent"} {
			if v, ok := s.Headers[n]; ok {
				all += n + v
			}
		}
		return strings.ReplaceAll(all, strings.TrimSuffix(s.Headers[signing.EffectHeader], "-effect"), "ID") + string(s.Payload)
	}
	genuine, err := f.Genuine()
	if err != nil {
		t.Fatal(err)
	}
	moves := 0
	for _, c := range attack.Cases() {
		if !strings.Contains(c.Name, " gave its ") || strings.Contains(c.Name, "deployment") || strings.Contains(c.Name, "its ID") ||
			strings.Contains(c.Name, "its kind gave its last") {
			continue
		}
		moves++
		s, err := c.Make(f)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(joined(genuine.Task), joined(s.Task)); diff != "" {
			t.Errorf("%s (-genuine +moved):\n%s", c, diff)
		}
	}
	if moves < 8 {
		t.Errorf("only %d moves", moves)
	}
}

func TestNewForgeRefuses(t *testing.T) {
	t.Parallel()
	young, err := signing.NewRing(now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	short, err := signing.NewRing(now.Add(-48*time.Hour), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(c *attack.Config)
		want  string
	}{
		"no queue":            {func(c *attack.Config) { c.Queue = "" }, "Queue"},
		"no kind":             {func(c *attack.Config) { c.Kind = "m" }, "Kind"},
		"a payload of a byte": {func(c *attack.Config) { c.Payload = []byte("1") }, "Payload"},
		"no audience":         {func(c *attack.Config) { c.Audience = "" }, "Audience"},
		"a young key":         {func(c *attack.Config) { c.Ring = young }, "younger than 3h"},
		"a short lifetime":    {func(c *attack.Config) { c.Ring = short }, "max_lifetime"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := config(newRing(t))
			c.spoil(&conf)
			if _, err := attack.NewForge(conf); !errors.Is(err, attack.ErrInvalidConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want a refusal about %q, got %v", c.want, err)
			}
		})
	}
	t.Run("no encrypted kind, in the case that needs it", func(t *testing.T) {
		t.Parallel()
		conf := config(newRing(t))
		conf.EncryptedKind = ""
		f := newForge(t, conf)
		unsuitable := 0
		for _, c := range attack.Cases() {
			if _, err := c.Make(f); errors.Is(err, attack.ErrUnsuitable) {
				unsuitable++
			} else if err != nil {
				t.Error(err)
			}
		}
		if unsuitable != 1 {
			t.Errorf("%d cases need an encrypted kind", unsuitable)
		}
		if _, ok := f.Kind(""); ok {
			t.Error("a kind of no name is run")
		}
	})
}
