package signing_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// newest is the key that the last move made.
func newest(r *signing.Ring) signing.KeyInfo {
	keys := r.Keys()
	return keys[len(keys)-1]
}

func stateOf(tb testing.TB, r *signing.Ring, kid signing.KID) signing.KeyInfo {
	tb.Helper()
	for _, k := range r.Keys() {
		if k.KID == kid {
			return k
		}
	}
	tb.Fatalf("the ring has no key %s", kid)
	return signing.KeyInfo{}
}

func must(tb testing.TB) func(*signing.Ring, error) *signing.Ring {
	tb.Helper()
	return func(r *signing.Ring, err error) *signing.Ring {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return r
	}
}

// TestRotation walks a key through its whole life.
func TestRotation(t *testing.T) {
	t.Parallel()
	must := must(t)
	r1 := must(signing.NewRing(t0.Add(123456*time.Nanosecond), 720*time.Hour))
	first := newest(r1)
	want := signing.KeyInfo{KID: first.KID, State: signing.Active, CreatedAt: t0, SignFrom: t0, Kinds: []string{"*"}}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first key (-want +got):\n%s", diff)
	}

	rotated := t0.Add(time.Hour)
	r2 := must(r1.Rotate(rotated, []string{"mail:*"}))
	second := newest(r2)
	want = signing.KeyInfo{KID: second.KID, State: signing.Published, CreatedAt: rotated, SignFrom: rotated, Kinds: []string{"mail:*"}}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("second key (-want +got):\n%s", diff)
	}

	promoted := rotated.Add(5 * time.Minute)
	r3 := must(r2.Promote(second.KID, promoted, 5*time.Minute))
	signUntil, verifyUntil := promoted.Add(5*time.Minute), promoted.Add(5*time.Minute+720*time.Hour)
	want = signing.KeyInfo{
		KID: first.KID, State: signing.Retiring, CreatedAt: t0, SignFrom: t0, SignUntil: &signUntil, VerifyUntil: &verifyUntil, Kinds: []string{"*"},
	}
	if diff := cmp.Diff(want, stateOf(t, r3, first.KID)); diff != "" {
		t.Errorf("retired key (-want +got):\n%s", diff)
	}
	want = signing.KeyInfo{KID: second.KID, State: signing.Active, CreatedAt: rotated, SignFrom: promoted, Kinds: []string{"mail:*"}}
	if diff := cmp.Diff(want, stateOf(t, r3, second.KID)); diff != "" {
		t.Errorf("promoted key (-want +got):\n%s", diff)
	}

	ended := verifyUntil.Add(60*time.Second + time.Millisecond)
	r4 := must(r3.Destroy(first.KID, ended, signing.Destruction{}))
	if got := stateOf(t, r4, first.KID); got.State != signing.Destroyed {
		t.Errorf("got %+v", got)
	}
	if n := strings.Count(string(r4.Marshal()), "sealq1_"); n != 1 {
		t.Errorf("%d secrets are left, want 1:\n%s", n, r4.Marshal())
	}
	for i, r := range []*signing.Ring{r1, r2, r3, r4} {
		if r.Version() != uint64(i+1) {
			t.Errorf("version %d after %d moves", r.Version(), i)
		}
		if again := must(signing.ParseRing(r.Marshal())); !again.Equal(r) {
			t.Errorf("version %d does not survive marshalling", i+1)
		}
	}
}

func TestRevokeActive(t *testing.T) {
	t.Parallel()
	must := must(t)
	r := must(must(signing.NewRing(t0, time.Hour)).Rotate(t0, nil))
	active, published := r.Keys()[0].KID, r.Keys()[1].KID

	named := must(r.RevokeActive(active, published, t0.Add(time.Second)))
	if stateOf(t, named, active).State != signing.Revoked || stateOf(t, named, published).State != signing.Active || named.Version() != 3 {
		t.Errorf("got %+v", named.Keys())
	}
	fresh := must(r.RevokeActive(active, signing.KID{}, t0.Add(time.Second)))
	if stateOf(t, fresh, active).State != signing.Revoked || stateOf(t, fresh, published).State != signing.Published ||
		newest(fresh).State != signing.Active || fresh.Version() != 3 {
		t.Errorf("got %+v", fresh.Keys())
	}
	gone := must(fresh.Destroy(active, t0.Add(time.Second), signing.Destruction{UnfinishedRows: 9}))
	if stateOf(t, gone, active).State != signing.Destroyed {
		t.Errorf("got %+v", gone.Keys())
	}
}

func TestMovesRefuse(t *testing.T) {
	t.Parallel()
	// active, published, retiring, revoked, destroyed: one key of each state.
	must := must(t)
	r := must(signing.NewRing(t0, time.Hour))
	for range 4 {
		r = must(r.Rotate(t0, nil))
	}
	keys := r.Keys()
	destroyed, revoked, retiring, active, published := keys[1].KID, keys[2].KID, keys[0].KID, keys[3].KID, keys[4].KID
	r = must(r.Revoke(destroyed))
	r = must(r.Destroy(destroyed, t0, signing.Destruction{}))
	r = must(r.Revoke(revoked))
	r = must(r.PromoteForced(active, t0))
	ended := t0.Add(5*time.Minute + time.Hour + 60*time.Second + time.Millisecond)
	unknown := signing.KID{}
	before := string(r.Marshal())

	for name, c := range map[string]struct {
		move func() (*signing.Ring, error)
		want error
	}{
		"promote an unknown key":  {func() (*signing.Ring, error) { return r.PromoteForced(unknown, ended) }, signing.ErrNoSuchKey},
		"promote the active key":  {func() (*signing.Ring, error) { return r.Promote(active, ended, 0) }, signing.ErrWrongState},
		"promote a retiring key":  {func() (*signing.Ring, error) { return r.Promote(retiring, ended, 0) }, signing.ErrWrongState},
		"promote a revoked key":   {func() (*signing.Ring, error) { return r.PromoteForced(revoked, ended) }, signing.ErrWrongState},
		"promote a destroyed key": {func() (*signing.Ring, error) { return r.PromoteForced(destroyed, ended) }, signing.ErrWrongState},
		"promote a young key":     {func() (*signing.Ring, error) { return r.Promote(published, t0.Add(5*time.Minute-1), 0) }, signing.ErrTooYoung},
		"promote before it was made": {
			func() (*signing.Ring, error) { return r.Promote(published, t0.Add(-time.Hour), time.Minute) }, signing.ErrTooYoung,
		},
		"promote by a clock far behind": {
			func() (*signing.Ring, error) { return r.PromoteForced(published, t0.Add(-time.Hour)) }, signing.ErrInvalidRing,
		},
		"retire an unknown key":     {func() (*signing.Ring, error) { return r.Retire(unknown, ended, 0) }, signing.ErrNoSuchKey},
		"retire a published key":    {func() (*signing.Ring, error) { return r.Retire(published, ended, 0) }, signing.ErrWrongState},
		"retire for a young key":    {func() (*signing.Ring, error) { return r.Retire(active, t0, 0) }, signing.ErrTooYoung},
		"revoke an unknown key":     {func() (*signing.Ring, error) { return r.Revoke(unknown) }, signing.ErrNoSuchKey},
		"revoke the active key":     {func() (*signing.Ring, error) { return r.Revoke(active) }, signing.ErrNoSuccessor},
		"revoke a revoked key":      {func() (*signing.Ring, error) { return r.Revoke(revoked) }, signing.ErrWrongState},
		"revoke a destroyed key":    {func() (*signing.Ring, error) { return r.Revoke(destroyed) }, signing.ErrWrongState},
		"revoke active, unknown":    {func() (*signing.Ring, error) { return r.RevokeActive(unknown, published, ended) }, signing.ErrNoSuchKey},
		"revoke active, published":  {func() (*signing.Ring, error) { return r.RevokeActive(published, active, ended) }, signing.ErrWrongState},
		"follow with itself":        {func() (*signing.Ring, error) { return r.RevokeActive(active, active, ended) }, signing.ErrWrongState},
		"follow with a retiring":    {func() (*signing.Ring, error) { return r.RevokeActive(active, retiring, ended) }, signing.ErrWrongState},
		"follow with a revoked key": {func() (*signing.Ring, error) { return r.RevokeActive(active, revoked, ended) }, signing.ErrWrongState},
		"destroy an unknown key": {
			func() (*signing.Ring, error) { return r.Destroy(unknown, ended, signing.Destruction{}) }, signing.ErrNoSuchKey,
		},
		"destroy the active key": {
			func() (*signing.Ring, error) { return r.Destroy(active, ended, signing.Destruction{}) }, signing.ErrWrongState,
		},
		"destroy a published key": {
			func() (*signing.Ring, error) { return r.Destroy(published, ended, signing.Destruction{}) }, signing.ErrWrongState,
		},
		"destroy a destroyed key": {
			func() (*signing.Ring, error) { return r.Destroy(destroyed, ended, signing.Destruction{}) }, signing.ErrWrongState,
		},
		"destroy a key within the skew of its end": {
			func() (*signing.Ring, error) {
				return r.Destroy(retiring, ended.Add(-time.Millisecond), signing.Destruction{})
			}, signing.ErrStillNeeded,
		},
		"destroy a key that rows need": {
			func() (*signing.Ring, error) {
				return r.Destroy(retiring, ended, signing.Destruction{UnfinishedRows: 1})
			}, signing.ErrStillNeeded,
		},
		"rotate for nothing":       {func() (*signing.Ring, error) { return r.Rotate(ended, []string{}) }, signing.ErrInvalidRing},
		"rotate for a bad pattern": {func() (*signing.Ring, error) { return r.Rotate(ended, []string{"a*b"}) }, signing.ErrInvalidRing},
		"rotate in 1960":           {func() (*signing.Ring, error) { return r.Rotate(t0.AddDate(-66, 0, 0), nil) }, signing.ErrInvalidRing},
		"a ring without lifetime":  {func() (*signing.Ring, error) { return signing.NewRing(t0, 0) }, signing.ErrInvalidRing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next, err := c.move()
			if !errors.Is(err, c.want) || next != nil {
				t.Errorf("want %v, got %v, %v", c.want, next, err)
			}
			if diff := cmp.Diff(before, string(r.Marshal())); diff != "" {
				t.Errorf("the refused move changed the ring (-want +got):\n%s", diff)
			}
		})
	}
	if next, err := r.Destroy(retiring, ended, signing.Destruction{}); err != nil || next.Version() != r.Version()+1 {
		t.Errorf("past all of it: %v, %v", next, err)
	}
}

func TestRetirePromotesTheLongestPublished(t *testing.T) {
	t.Parallel()
	must := must(t)
	r := must(signing.NewRing(t0, time.Hour))
	active := newest(r).KID
	if _, err := r.Retire(active, t0, 0); !errors.Is(err, signing.ErrNoSuccessor) {
		t.Errorf("without a successor: %v", err)
	}
	r = must(r.Rotate(t0.Add(2*time.Minute), nil))
	r = must(r.Rotate(t0.Add(time.Minute), nil)) // made by a host whose clock is behind
	oldest := newest(r).KID
	r = must(r.Retire(active, t0.Add(6*time.Minute), 5*time.Minute))
	if stateOf(t, r, oldest).State != signing.Active || stateOf(t, r, active).State != signing.Retiring {
		t.Errorf("got %+v", r.Keys())
	}
}

func TestMoveErrorsCarryFacts(t *testing.T) {
	t.Parallel()
	must := must(t)
	r := must(must(signing.NewRing(t0, time.Hour)).Rotate(t0.Add(time.Minute), nil))
	active, published := r.Keys()[0].KID, r.Keys()[1].KID
	_, err := r.Promote(published, t0.Add(2*time.Minute), 10*time.Minute)
	var young *signing.TooYoungError
	if !errors.As(err, &young) || !young.ReadyAt.Equal(t0.Add(11*time.Minute)) || young.KID != published ||
		!strings.Contains(err.Error(), "2026-01-01T00:11:00Z") {
		t.Errorf("got %v", err)
	}
	_, err = r.Revoke(active)
	var move *signing.MoveError
	if !errors.As(err, &move) || move.State != signing.Active || move.KID != active || !strings.Contains(err.Error(), "it is active") {
		t.Errorf("got %v", err)
	}
	r = must(r.PromoteForced(published, t0.Add(2*time.Minute)))
	_, err = r.Destroy(active, t0, signing.Destruction{Skew: time.Minute, UnfinishedRows: 3})
	var needed *signing.StillNeededError
	if !errors.As(err, &needed) || !needed.Until.Equal(t0.Add(68*time.Minute)) || needed.Rows != 3 {
		t.Errorf("got %v", err)
	}
	_, err = r.Destroy(active, t0.Add(69*time.Minute), signing.Destruction{UnfinishedRows: 3})
	if !errors.As(err, &needed) || !needed.Until.IsZero() || !strings.Contains(err.Error(), "3 unfinished") {
		t.Errorf("got %v", err)
	}
}

func TestANewKeyMayNotShareAnID(t *testing.T) {
	t.Parallel()
	s, err := signing.ParseSecret(secretA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.WithSecret(ringA(t), s, t0); !errors.Is(err, signing.ErrDuplicateKID) {
		t.Errorf("got %v", err)
	}
	other, err := signing.ParseSecret(secretB)
	if err != nil {
		t.Fatal(err)
	}
	r, err := signing.WithSecret(ringA(t), other, t0)
	if err != nil || newest(r).KID != mustKID(t, kidB) {
		t.Errorf("got %v, %v", r, err)
	}
}

// TestASignerWithTheOlderRingIsStillBelieved shows why a rotation stops nothing: what hosts sign while the new ring spreads
// verifies on both sides.
func TestASignerWithTheOlderRingIsStillBelieved(t *testing.T) {
	t.Parallel()
	must := must(t)
	old := must(must(signing.NewRing(t0, time.Hour)).Rotate(t0, nil))
	promoted := t0.Add(10 * time.Minute)
	next := must(old.Promote(newest(old).KID, promoted, 0))
	task, _ := genuine()
	for name, c := range map[string]struct {
		signer, verifier *signing.Ring
		signed           time.Time
	}{
		"the old ring signs four minutes on": {old, next, promoted.Add(4 * time.Minute)},
		"the new ring signs at once":         {next, old, promoted},
		"the new ring signs, clock behind":   {next, next, promoted.Add(-60 * time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sig, _, err := open(t, c.signer, c.signed).Sign(task, signing.Validity{Expires: c.signed.Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, c.verifier, c.signed.Add(59*time.Minute)).Verify(task, sig); err != nil {
				t.Error(err)
			}
		})
	}
}
