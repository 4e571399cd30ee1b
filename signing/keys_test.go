package signing_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// signedBy signs the genuine task now with a ring, as another process would.
func signedBy(t *testing.T, r *signing.Ring, now time.Time) (signing.Task, string) {
	t.Helper()
	task, _ := genuine()
	sig, _, err := open(t, r, now).Sign(task, signing.Validity{Expires: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return task, sig
}

func TestReloadFollowsTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		must := must(t)
		old := must(signing.NewRing(time.Now(), time.Hour))
		next := must(old.Rotate(time.Now(), nil))
		source := &memory{ring: old}
		k := openWith(t, source, "test", signing.Options{})
		source.set(next, nil)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff(old.Version(), k.Version()); diff != "" {
			t.Errorf("version before the poll (-want +got):\n%s", diff)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff(next.Version(), k.Version()); diff != "" {
			t.Errorf("version after the poll (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(next.Keys(), k.Infos()); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		if len(k.CheckValues()) != 2 || k.MaxLifetime() != time.Hour || k.Audience() != "test" {
			t.Errorf("got %v, %v, %v", k.CheckValues(), k.MaxLifetime(), k.Audience())
		}
	})
}

func TestReloadKeepsTheOldRing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, source *memory)
		want  string
	}{
		"when the source fails": {func(_ *testing.T, s *memory) { s.set(nil, errors.New("the disk is gone")) }, "the disk is gone"},
		"when the ring is older": {func(t *testing.T, s *memory) {
			t.Helper()
			s.set(parse(t, ringFields(keyFields(kidA, "active", secretA)).with("version", 6)), nil)
		}, "version 6 after version 7"},
		"when the source gives none": {func(_ *testing.T, s *memory) { s.set(nil, nil) }, "there is no key ring"},
		"when the source hangs":      {func(_ *testing.T, s *memory) { s.hold(make(chan struct{})) }, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				ring := ringA(t)
				source := &memory{ring: ring}
				now := newClock(t0)
				k := openWith(t, source, "test", signing.Options{Now: now.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				c.spoil(t, source)
				time.Sleep(71 * time.Second) // a poll, and the time limit of a load
				synctest.Wait()
				if diff := cmp.Diff(uint64(7), k.Version()); diff != "" {
					t.Errorf("version (-want +got):\n%s", diff)
				}
				at, err := k.Confirmed()
				if err == nil || !strings.Contains(err.Error(), c.want) || !at.Equal(t0) {
					t.Errorf("want %q since %v, got %v since %v", c.want, t0, err, at)
				}
				if n := strings.Count(log.String(), "key ring not reloaded"); n != 1 || !strings.Contains(log.String(), c.want) {
					t.Errorf("the log says it %d times:\n%s", n, log.String())
				}
				task, e := genuine()
				if _, err := k.Verify(task, e.sign(t, secretA, "test", task)); err != nil {
					t.Errorf("the old ring does not verify: %v", err)
				}
				source.hold(nil)
				source.set(ring, nil)
				now.Set(t0.Add(time.Hour))
				if err := k.Reload(t.Context()); err != nil {
					t.Error(err)
				}
				if at, err := k.Confirmed(); err != nil || !at.Equal(t0.Add(time.Hour)) {
					t.Errorf("after the repair: %v since %v", err, at)
				}
			})
		})
	}
}

func TestAHandEditedRingIsUsedAndLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	source := &memory{ring: ringA(t)}
	k := openWith(t, source, "test", signing.Options{Now: newClock(t0).Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	source.set(parse(t, ringFields(keyFields(kidA, "active", secretA).with("kinds", []string{"mail:*"}))), nil)
	if err := k.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"mail:*"}, k.Infos()[0].Kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if !strings.Contains(log.String(), "without a new version") {
		t.Errorf("the log says:\n%s", log.String())
	}
}

func TestASignerWithoutConfirmationRefuses(t *testing.T) {
	t.Parallel()
	source := &memory{ring: ringA(t)}
	now := newClock(t0)
	k := openWith(t, source, "test", signing.Options{Now: now.Now})
	task, _ := genuine()
	v := signing.Validity{Expires: t0.Add(time.Hour)}
	nonce := []byte("0123456789abcdef")

	now.Set(t0.Add(4 * time.Minute))
	if _, _, err := k.Sign(task, v); err != nil {
		t.Errorf("after 4 minutes: %v", err)
	}
	now.Set(t0.Add(4*time.Minute + time.Nanosecond))
	down := errors.New("the disk is gone")
	source.set(nil, down)
	if err := k.Reload(t.Context()); !errors.Is(err, down) {
		t.Fatal(err)
	}
	sig, _, err := k.Sign(task, v)
	var stale *signing.StaleError
	if !errors.As(err, &stale) || !errors.Is(err, signing.ErrNotConfirmed) || !errors.Is(err, down) || sig != "" {
		t.Errorf("after 4 minutes and a bit: %v", err)
	}
	if stale != nil && !stale.ConfirmedAt.Equal(t0) {
		t.Errorf("confirmed at %v", stale.ConfirmedAt)
	}
	if _, _, err := k.Token(signing.KID{}, "c", "p", 1, nonce); !errors.Is(err, signing.ErrNotConfirmed) {
		t.Errorf("a token of the active key: %v", err)
	}
	if _, _, err := k.Token(mustKID(t, kidA), "c", "p", 1, nonce); err != nil {
		t.Errorf("a token of a named key: %v", err)
	}
	_, e := genuine()
	if _, err := k.Verify(task, e.sign(t, secretA, "test", task)); err != nil {
		t.Errorf("verifying: %v", err)
	}
	source.set(ringA(t), nil)
	if err := k.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Sign(task, v); err != nil {
		t.Errorf("confirmed again: %v", err)
	}
}

// TestAnUnknownKeyReloadsOnce has a hundred workers meet a key that another host has just made.
func TestAnUnknownKeyReloadsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		must := must(t)
		old := must(signing.NewRing(time.Now(), time.Hour))
		next := must(old.RevokeActive(newest(old).KID, signing.KID{}, time.Now()))
		task, sig := signedBy(t, next, time.Now())
		source := &memory{ring: old}
		k := openWith(t, source, "test", signing.Options{})
		gate := make(chan struct{})
		source.hold(gate)
		source.set(next, nil)
		errs := make(chan error, 100)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := k.Verify(task, sig)
				errs <- err
			})
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(2, source.count()); diff != "" {
			t.Errorf("loads (-want +got):\n%s", diff)
		}
	})
}

func TestForgedKeysDoNotFloodTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &memory{ring: must(t)(signing.NewRing(time.Now(), time.Hour))}
		k := openWith(t, source, "test", signing.Options{Poll: 3 * time.Minute})
		task, e := genuine()
		e.iat = time.Now().UnixMilli()
		flood := func() {
			for i := range 1000 {
				e.kid = signing.KID{1, 2, byte(i >> 8), byte(i)}
				if _, err := k.Verify(task, e.sign(t, secretB, "test", task)); !refusal(t, err).Deferred() {
					t.Fatalf("got %v", err)
				}
			}
		}
		flood()
		if diff := cmp.Diff(2, source.count()); diff != "" {
			t.Errorf("loads after a flood (-want +got):\n%s", diff)
		}
		time.Sleep(4999 * time.Millisecond)
		flood()
		if diff := cmp.Diff(2, source.count()); diff != "" {
			t.Errorf("loads before 5 s (-want +got):\n%s", diff)
		}
		time.Sleep(time.Millisecond)
		flood()
		if diff := cmp.Diff(3, source.count()); diff != "" {
			t.Errorf("loads after 5 s (-want +got):\n%s", diff)
		}
	})
}

// TestASlowSourceDoesNotHoldWorkers requires that a forged key ID costs a worker two seconds at most, whatever the source.
func TestASlowSourceDoesNotHoldWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &memory{ring: must(t)(signing.NewRing(time.Now(), time.Hour))}
		k := openWith(t, source, "test", signing.Options{})
		source.hold(make(chan struct{}))
		task, e := genuine()
		e.iat = time.Now().UnixMilli()
		began := time.Now()
		_, err := k.Verify(task, e.sign(t, secretB, "test", task))
		if r := refusal(t, err); r.Reason != signing.ReasonUnknownKey || !r.Deferred() {
			t.Errorf("got %v", r)
		}
		if diff := cmp.Diff(2*time.Second, time.Since(began)); diff != "" {
			t.Errorf("waited (-want +got):\n%s", diff)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		_, err = k.VerifyWith(ctx, task, e.sign(t, secretB, "test", task), signing.Rules{})
		if r := refusal(t, err); r.Reason != signing.ReasonUnknownKey || time.Since(began) != 0 {
			t.Errorf("a worker that is ending waited %v for %v", time.Since(began), r)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	must := must(t)
	r := ringA(t)
	source := &memory{ring: r}
	k := openWith(t, source, "test", signing.Options{Now: newClock(t0).Now})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				task, _ := genuine()
				sig, payload, err := k.Sign(task, signing.Validity{Expires: t0.Add(time.Hour), Encrypt: i%2 == 0})
				if err != nil {
					t.Error(err)
					return
				}
				want := string(task.Payload)
				task.Payload = payload
				v, err := k.Verify(task, sig)
				if err != nil || string(v.Payload()) != want {
					t.Errorf("got %q, %v", v.Payload(), err)
					return
				}
			}
		})
	}
	for range 20 {
		r = must(r.Rotate(t0, nil))
		source.set(r, nil)
		if err := k.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if diff := cmp.Diff(r.Version(), k.Version()); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
}
