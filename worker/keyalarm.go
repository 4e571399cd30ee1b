package worker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sealq/sealq/signing"
)

// The alarm's measures: most of at least alarmRefusals refusals within alarmWindow are about keys that never verified
// anything here, and nothing verified.
const (
	alarmRefusals = 20
	alarmWindow   = 10 * time.Second
	// probeEvery is the pause between the tasks that a closed gate lets through, to see whether one verifies now.
	probeEvery = 200 * time.Millisecond
)

// ErrKeyAlarm means that this process refuses nearly everything for its key. Nothing is quarantined for that until a
// task verifies.
var ErrKeyAlarm = errors.New("nearly every task is refused for its key and none verifies: compare this host's key ring " +
	"and audience with the enqueuers'; tasks wait until one verifies")

// keyAlarm tells a worker with a wrong ring from a queue with wrong tasks. A worker that was started with another
// deployment's ring would otherwise empty the whole queue into quarantine.
//
// Somebody who floods the queue with forgeries must not be able to stop honest work by it. So a key that has verified one
// task is proven: what is refused for it is forged, and counts for nothing. And a process that has verified anything goes on
// fetching while the alarm is raised.
type keyAlarm struct {
	now func() time.Time

	mu      sync.Mutex
	proven  map[signing.KID]bool
	seconds [int(alarmWindow / time.Second)]refusals // a ring, by second
	raised  bool
	seen    time.Time // when a task last reached the verifier
}

type refusals struct {
	second   int64
	all      int
	keys     int
	verified bool
}

func (a *keyAlarm) current() *refusals {
	a.seen = a.now()
	second := a.seen.Unix()
	r := &a.seconds[second%int64(len(a.seconds))]
	if r.second != second {
		*r = refusals{second: second}
	}
	return r
}

// verified proves a key and ends an alarm: the ring is right after all.
func (a *keyAlarm) verified(kid signing.KID) (ended bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current().verified = true
	if !a.proven[kid] {
		if a.proven == nil {
			a.proven = make(map[signing.KID]bool)
		}
		a.proven[kid] = true
	}
	ended, a.raised = a.raised, false
	return ended
}

// refused counts a refusal. It says whether the refusal may be this process's fault while the alarm is raised, and whether
// it was this one that raised it. kid is what the signature says, and not to be believed.
func (a *keyAlarm) refused(reason signing.Reason, kid signing.KID) (raised, now bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.current()
	r.all++
	suspect := aboutKeys(reason) && !a.proven[kid]
	if suspect {
		r.keys++
	}
	if !a.raised && a.exceeded() {
		a.raised, now = true, true
	}
	return a.raised && suspect, now
}

func (a *keyAlarm) exceeded() bool {
	oldest := a.seen.Unix() - int64(len(a.seconds)) + 1
	all, keys := 0, 0
	for _, r := range a.seconds {
		if r.second < oldest {
			continue
		}
		if r.verified {
			return false
		}
		all += r.all
		keys += r.keys
	}
	return all >= alarmRefusals && 2*keys > all
}

func (a *keyAlarm) isRaised() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.raised
}

// mayFetch says whether a task may be fetched. A closed gate opens for whatever queue has a task, until one has reached the
// verifier.
func (a *keyAlarm) mayFetch() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.raised || len(a.proven) > 0 || a.now().Sub(a.seen) >= probeEvery
}

// aboutKeys says whether a reason may be the verifier's own fault: its ring lacks the key, or its audience differs.
func aboutKeys(r signing.Reason) bool {
	return r == signing.ReasonUnknownKey || r == signing.ReasonKeyNotValid || r == signing.ReasonBadSignature
}

// Alarm is ErrKeyAlarm while the key alarm is raised: the process is not ready. It ends by itself when a task verifies.
func (v *Verifier) Alarm() error {
	if v.alarm.isRaised() {
		return ErrKeyAlarm
	}
	return nil
}

// MayFetch is for a Gate on the server's Redis client: while the key alarm is raised and this process has never verified
// anything, a few tasks a second, so that what it cannot judge is left to others. Without a gate such tasks are fetched,
// and put off.
func (v *Verifier) MayFetch(string) bool { return v.alarm.mayFetch() }

// alarmed counts a refusal, and says whether the task is to wait because the alarm is raised.
func (v *Verifier) alarmed(ctx context.Context, t signing.Task, refusal *signing.Refusal) bool {
	if refusal.Authentic() {
		v.verified(ctx, refusal.Claims) // its signature held: the ring and the audience are right
		return false
	}
	kid, _ := signing.KIDOf(t.Headers[signing.SignatureHeader]) // compared alone, never shown
	if v.ended(kid) {
		return false // this ring says itself why
	}
	raised, now := v.alarm.refused(refusal.Reason, kid)
	if now {
		v.cfg.Logger.ErrorContext(ctx, "key alarm raised", slog.Any("error", ErrKeyAlarm),
			slog.String("audience", v.keys.Audience()), slog.Uint64("ring_version", v.keys.Version()))
	}
	return raised
}

// ended says whether the ring in use has the key as revoked or destroyed.
func (v *Verifier) ended(kid signing.KID) bool {
	return slices.ContainsFunc(v.keys.Infos(), func(k signing.KeyInfo) bool {
		return k.KID == kid && (k.State == signing.Revoked || k.State == signing.Destroyed)
	})
}

func (v *Verifier) verified(ctx context.Context, c signing.Claims) {
	if v.alarm.verified(c.KID) {
		v.cfg.Logger.InfoContext(ctx, "key alarm ended: a task verified")
	}
}
