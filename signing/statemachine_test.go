package signing_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealq/sealq/signing"
)

// ringMachine makes random moves and signs a task now and then, under the ring as it is or as it was up to four minutes before.
// Beside that, holders of any key there ever was sign whatever they like, and others change what was signed. The machine keeps
// a model of its own of what each key may do, made of the moves and not of the ring.
type ringMachine struct {
	now     time.Time
	ring    *signing.Ring
	earlier []dated // rings with the time at which each was replaced
	signed  []signedTask
	forged  []forgedTask // by holders of a key
	changed []signedTask // which nobody signed

	secrets map[signing.KID]string // of every key there ever was
	lives   map[signing.KID]*life
}

// life is what the moves say of a key.
type life struct {
	from    time.Time // published, or promoted later
	demoted time.Time // zero: not yet
	gone    bool      // revoked or destroyed
}

type forgedTask struct {
	task     signing.Task
	sig      string
	envelope envelope
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
	before := maps.Clone(was)
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
	m.learn(t, before)
}

// learn reads the new secrets, and what a move did, from the states before and after it.
func (m *ringMachine) learn(t *rapid.T, before map[signing.KID]signing.State) {
	var doc struct {
		Keys []struct {
			KID    signing.KID `json:"kid"`
			Secret string      `json:"secret"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(m.ring.Marshal(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, k := range doc.Keys {
		if k.Secret != "" {
			m.secrets[k.KID] = k.Secret
		}
	}
	for _, k := range m.ring.Keys() {
		l := m.lives[k.KID]
		if l == nil {
			l = &life{from: m.now}
			m.lives[k.KID] = l
		}
		if k.State == before[k.KID] {
			continue
		}
		switch k.State {
		case signing.Active:
			l.from = m.now
		case signing.Retiring:
			l.demoted = m.now
		case signing.Revoked, signing.Destroyed:
			l.gone = true
		case signing.Published:
		}
	}
}

// mayVerify is what the design promises of a task that a key's holder signed.
func (m *ringMachine) mayVerify(e envelope) bool {
	const skew, grace = signing.DefaultSkew, 5 * time.Minute
	l, known := m.lives[e.kid]
	iat, nbf, exp := time.UnixMilli(e.iat), time.UnixMilli(e.nbf), time.UnixMilli(e.exp)
	switch {
	case !known || l.gone:
		return false
	case iat.Before(l.from.Add(-skew)), iat.After(m.now.Add(skew)):
		return false
	case !l.demoted.IsZero() && (iat.After(l.demoted.Add(grace+skew)) || exp.After(l.demoted.Add(grace+machineLifetime))):
		return false
	case nbf.Before(iat), exp.Before(nbf), exp.Sub(iat) > machineLifetime:
		return false
	}
	return !m.now.After(exp.Add(skew)) && !m.now.Before(nbf.Add(-skew))
}

// forge signs with any key there ever was, for times about now and about the ends of what the key may do.
func (m *ringMachine) forge(t *rapid.T) {
	kid := m.anyKey(t)
	for _, k := range m.ring.Keys() {
		if k.State == signing.Retiring && rapid.Bool().Draw(t, "retiring") {
			kid = k.KID // whose ends are the subtlest
		}
	}
	for range 8 {
		m.forgeWith(t, kid)
	}
}

func (m *ringMachine) forgeWith(t *rapid.T, kid signing.KID) {
	task, e := genuine()
	e.kid = kid
	l := m.lives[e.kid]
	end := l.demoted
	if end.IsZero() {
		end = m.now
	}
	end = end.Add(5 * time.Minute)
	about := func(name string, moments ...time.Time) int64 {
		at := rapid.SampledFrom(moments).Draw(t, name).UnixMilli()
		return at + rapid.SampledFrom([]int64{-600_000, -1, 0, 1}).Draw(t, name+" shifted by")
	}
	e.iat = about("issued", m.now, m.now.Add(time.Minute), l.from.Add(-time.Minute), end, end.Add(time.Minute))
	issued := time.UnixMilli(e.iat)
	e.nbf = max(e.iat, about("due", issued, issued, m.now.Add(time.Minute)))
	e.exp = about("ends", issued.Add(machineLifetime), issued.Add(machineLifetime), end.Add(machineLifetime), m.now.Add(-time.Minute))
	m.forged = append(m.forged, forgedTask{task, e.sign(t, m.secrets[e.kid], "test", task), e})
}

// change is what somebody without a key makes of a genuine task.
func (m *ringMachine) change(t *rapid.T) {
	if len(m.signed) == 0 {
		return
	}
	s := rapid.SampledFrom(m.signed).Draw(t, "genuine")
	s.task.Headers = maps.Clone(s.task.Headers)
	switch rapid.SampledFrom([]string{"bit", "payload", "kind", "id", "queue", "retries", "header", "key", "audience"}).Draw(t, "what") {
	case "bit":
		raw, err := base64.RawURLEncoding.DecodeString(s.sig)
		if err != nil {
			t.Fatal(err)
		}
		bit := rapid.IntRange(0, len(raw)*8-1).Draw(t, "bit")
		raw[bit/8] ^= 1 << (bit % 8)
		s.sig = base64.RawURLEncoding.EncodeToString(raw)
	case "payload":
		s.task.Payload = append(bytes.Clone(s.task.Payload), ' ')
	case "kind":
		s.task.Kind += "x"
	case "id":
		s.task.ID += "x"
	case "queue":
		s.task.Queue += "x"
	case "retries":
		s.task.MaxRetry++
	case "header":
		s.task.Headers["tenant"] += "x"
	case "key":
		_, e := genuine()
		e.kid, e.iat, e.nbf, e.exp = s.kid, m.now.UnixMilli(), m.now.UnixMilli(), s.exp.UnixMilli()
		s.sig = e.sign(t, secretA, "test", s.task)
	case "audience":
		_, e := genuine()
		e.kid, e.iat, e.nbf, e.exp = s.kid, m.now.UnixMilli(), m.now.UnixMilli(), s.exp.UnixMilli()
		s.sig = e.sign(t, m.secrets[s.kid], "staging", s.task)
	}
	m.changed = append(m.changed, s)
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
	for _, f := range m.forged {
		if _, err := k.Verify(f.task, f.sig); (err == nil) != m.mayVerify(f.envelope) {
			t.Fatalf("a holder of %s, which is %s, signed %+v at will; now %v: %v", f.envelope.kid, states[f.envelope.kid], f.envelope, m.now, err)
		}
	}
	for _, c := range m.changed {
		if _, err := k.Verify(c.task, c.sig); err == nil {
			t.Fatalf("nobody signed %+v with %s", c.task, c.sig)
		}
	}
}

// TestRingMoves requires, over random histories: exactly the allowed moves, one active key, no secret after destruction, and
// that what was validly signed verifies until it expires unless its key was revoked, and nothing else ever does.
func TestRingMoves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first, err := signing.NewRing(t0, machineLifetime)
		if err != nil {
			t.Fatal(err)
		}
		m := &ringMachine{now: t0, ring: first, secrets: map[signing.KID]string{}, lives: map[signing.KID]*life{}}
		m.learn(t, nil)
		t.Repeat(map[string]func(*rapid.T){
			"": m.check,
			"time passes": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.Int64Range(1, (20*time.Minute).Milliseconds()).Draw(t, "passed")) * time.Millisecond)
			},
			"rotate": func(t *rapid.T) {
				next, err := m.ring.Rotate(m.now, nil)
				m.move(t, next, err)
			},
			"rotate and promote": func(t *rapid.T) {
				next, err := m.ring.Rotate(m.now, nil)
				m.move(t, next, err)
				keys := next.Keys()
				next, err = m.ring.PromoteForced(keys[len(keys)-1].KID, m.now)
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
			"sign":            func(t *rapid.T) { m.sign(t, m.ring) },
			"sign at will":    m.forge,
			"change a signed": m.change,
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
