package signing_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealq/sealq/signing"
)

// ringMachine makes random moves and signs a task now and then, under the ring as it is or as it was up to four minutes before.
type ringMachine struct {
	now     time.Time
	ring    *signing.Ring
	earlier []dated // rings with the time at which each was replaced
	signed  []signedTask
}

type dated struct {
	ring  *signing.Ring
	until time.Time
}

type signedTask struct {
	task signing.Task
	sig  string
	kid  signing.KID
	exp  time.Time
}

const machineLifetime = time.Hour

func (m *ringMachine) anyKey(t *rapid.T) signing.KID {
	return rapid.SampledFrom(m.ring.Keys()).Draw(t, "key").KID
}

// move applies a move, and requires the next version or an error and nothing changed.
func (m *ringMachine) move(t *rapid.T, next *signing.Ring, err error) {
	if err != nil {
		if next != nil {
			t.Fatalf("a refused move made %v", next)
		}
		return
	}
	if next.Version() != m.ring.Version()+1 {
		t.Fatalf("version %d follows %d", next.Version(), m.ring.Version())
	}
	was := map[signing.KID]signing.State{}
	for _, k := range m.ring.Keys() {
		was[k.KID] = k.State
	}
	for _, k := range next.Keys() {
		if from, old := was[k.KID]; old && from != k.State && !allowed[[2]signing.State{from, k.State}] {
			t.Fatalf("key %s went from %s to %s", k.KID, from, k.State)
		}
		delete(was, k.KID)
	}
	if len(was) != 0 {
		t.Fatalf("keys %v vanished without a tombstone", was)
	}
	m.earlier = append(m.earlier, dated{m.ring, m.now})
	m.ring = next
}

var allowed = map[[2]signing.State]bool{
	{signing.Published, signing.Active}:   true,
	{signing.Active, signing.Retiring}:    true,
	{signing.Published, signing.Revoked}:  true,
	{signing.Active, signing.Revoked}:     true,
	{signing.Retiring, signing.Revoked}:   true,
	{signing.Retiring, signing.Destroyed}: true,
	{signing.Revoked, signing.Destroyed}:  true,
}

func (m *ringMachine) sign(t *rapid.T, ring *signing.Ring) {
	task, _ := genuine()
	exp := m.now.Add(time.Duration(rapid.Int64Range(0, int64(machineLifetime)).Draw(t, "lifetime"))).Truncate(time.Millisecond)
	k, done := m.keys(t, ring)
	defer done()
	sig, _, err := k.Sign(task, signing.Validity{Expires: exp})
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	v, err := k.Verify(task, sig)
	if err != nil {
		t.Fatalf("verify what was just signed: %v", err)
	}
	m.signed = append(m.signed, signedTask{task, sig, v.Claims().KID, exp})
}

func (m *ringMachine) keys(t *rapid.T, ring *signing.Ring) (*signing.Keys, func()) {
	k, err := signing.OpenWith(t.Context(), &memory{ring: ring}, "test", signing.Options{Now: newClock(m.now).Now})
	if err != nil {
		t.Fatal(err)
	}
	return k, k.Close
}

// check holds after every step.
func (m *ringMachine) check(t *rapid.T) {
	states := map[signing.KID]signing.State{}
	active, secrets := 0, 0
	for _, k := range m.ring.Keys() {
		states[k.KID] = k.State
		if k.State == signing.Active {
			active++
		}
		if k.State != signing.Destroyed {
			secrets++
		}
	}
	text := m.ring.Marshal()
	if active != 1 || bytes.Count(text, []byte("sealq1_")) != secrets {
		t.Fatalf("%d active keys and %d that should have secrets in %s", active, secrets, text)
	}
	if again, err := signing.ParseRing(text); err != nil || !again.Equal(m.ring) {
		t.Fatalf("%s does not survive: %v", text, err)
	}
	k, done := m.keys(t, m.ring)
	defer done()
	for _, s := range m.signed {
		_, err := k.Verify(s.task, s.sig)
		gone := states[s.kid] == signing.Revoked || states[s.kid] == signing.Destroyed
		switch {
		case gone && !errors.Is(err, signing.ErrKeyNotValid):
			t.Fatalf("signed under %s, which is %s: %v", s.kid, states[s.kid], err)
		case !gone && m.now.After(s.exp.Add(signing.DefaultSkew)) && !errors.Is(err, signing.ErrExpired):
			t.Fatalf("expired at %v, now %v: %v", s.exp, m.now, err)
		case !gone && !m.now.After(s.exp.Add(signing.DefaultSkew)) && err != nil:
			t.Fatalf("a genuine task of %s, which is %s: %v", s.kid, states[s.kid], err)
		}
	}
}

// TestRingMoves requires, over random histories: exactly the allowed moves, one active key, no secret after destruction, and
// that every genuine task verifies until it expires unless its key was revoked.
func TestRingMoves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first, err := signing.NewRing(t0, machineLifetime)
		if err != nil {
			t.Fatal(err)
		}
		m := &ringMachine{now: t0, ring: first}
		t.Repeat(map[string]func(*rapid.T){
			"": m.check,
			"time passes": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.Int64Range(1, int64(20*time.Minute)).Draw(t, "passed")))
			},
			"rotate": func(t *rapid.T) {
				next, err := m.ring.Rotate(m.now, nil)
				m.move(t, next, err)
			},
			"promote": func(t *rapid.T) {
				next, err := m.ring.Promote(m.anyKey(t), m.now, 0)
				m.move(t, next, err)
			},
			"promote by force": func(t *rapid.T) {
				next, err := m.ring.PromoteForced(m.anyKey(t), m.now)
				m.move(t, next, err)
			},
			"retire": func(t *rapid.T) {
				next, err := m.ring.Retire(m.anyKey(t), m.now, 0)
				m.move(t, next, err)
			},
			"revoke": func(t *rapid.T) {
				next, err := m.ring.Revoke(m.anyKey(t))
				m.move(t, next, err)
			},
			"revoke the active": func(t *rapid.T) {
				successor := signing.KID{}
				if rapid.Bool().Draw(t, "named") {
					successor = m.anyKey(t)
				}
				next, err := m.ring.RevokeActive(m.anyKey(t), successor, m.now)
				m.move(t, next, err)
			},
			"destroy": func(t *rapid.T) {
				next, err := m.ring.Destroy(m.anyKey(t), m.now, signing.Destruction{UnfinishedRows: rapid.IntRange(0, 1).Draw(t, "rows")})
				m.move(t, next, err)
			},
			"sign": func(t *rapid.T) { m.sign(t, m.ring) },
			"sign with a ring that is behind": func(t *rapid.T) {
				for _, d := range m.earlier {
					if m.now.Sub(d.until) <= 4*time.Minute {
						m.sign(t, d.ring)
						return
					}
				}
			},
		})
	})
}
