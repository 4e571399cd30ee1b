package attack

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/signing"
)

// MinKeyAge is how old the active key of a forge's ring must be: some cases were signed in the past.
const MinKeyAge = 3 * time.Hour

// ErrInvalidConfig is the cause of what [NewForge] refuses.
var ErrInvalidConfig = errors.New("invalid configuration of the forge")

// Config says what is known of the target. Queue and Kind are required.
type Config struct {
	// Ring is the target's key ring. Nil means that only the target's queue is known: then no case can be made that
	// NeedsKeys. Its active key must be [MinKeyAge] old and may sign the kinds below; its max_lifetime is an hour at least.
	Ring *signing.Ring
	// Audience names the target's deployment. It is required with a Ring.
	Audience string
	// Now is the clock, the target's too. Nil means [time.Now].
	Now func() time.Time
	// Skew is the target's. Zero means [signing.DefaultSkew].
	Skew time.Duration
	// Queue is a queue that the target serves.
	Queue string
	// OtherQueue is another queue that the target serves. Empty means Queue with "-other" at its end.
	OtherQueue string
	// UnservedQueue is a queue that the target does not serve. Empty means Queue with "-unserved" at its end.
	UnservedQueue string
	// Kind is a kind that the target runs, readable.
	Kind string
	// EncryptedKind is a kind that the target runs only encrypted. Empty means that there is none: one case needs it.
	EncryptedKind string
	// MaxAge is the kinds' limit from due time to expiry. Zero means an hour.
	MaxAge time.Duration
	// Payload is what a handler of the kind would take, at least two bytes. Nil means a JSON object that says what it is.
	Payload []byte
	// MaxRetry is what the tasks are enqueued with. Zero means 5.
	MaxRetry int
	// IDPrefix begins each task's ID, so that they can be found and swept. Empty means "attack".
	IDPrefix string
}

// Forge makes the cases for one target. It is safe for concurrent use.
type Forge struct {
	config Config
	active signing.KeyInfo // of Config.Ring
	secret []byte          // of the active key
}

// NewForge checks what is known of the target.
func NewForge(c Config) (*Forge, error) {
	if len(c.Queue) < 2 || len(c.Kind) < 2 {
		return nil, fmt.Errorf("%w: give the Queue and the Kind two bytes or more, for some cases move one", ErrInvalidConfig)
	}
	c = withDefaults(c)
	if len(c.Payload) < 2 {
		return nil, fmt.Errorf("%w: give the Payload two bytes or more", ErrInvalidConfig)
	}
	f := &Forge{config: c}
	if c.Ring == nil {
		f.config.Audience = "unknown"
		return f, nil
	}
	for _, k := range c.Ring.Keys() {
		if k.State == signing.Active {
			f.active = k
		}
	}
	switch {
	case len(c.Audience) < 2:
		return nil, fmt.Errorf("%w: give the Audience of the Ring, two bytes or more", ErrInvalidConfig)
	case c.Now().Sub(f.active.SignFrom) < MinKeyAge:
		return nil, fmt.Errorf("%w: the active key is younger than %s; make the Ring with an earlier time", ErrInvalidConfig, MinKeyAge)
	case c.Ring.MaxLifetime() < time.Hour:
		return nil, fmt.Errorf("%w: the Ring's max_lifetime is under an hour", ErrInvalidConfig)
	}
	secrets, err := secretsOf(c.Ring)
	if err != nil {
		return nil, err
	}
	f.secret = secrets[f.active.KID]
	return f, nil
}

func withDefaults(c Config) Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Skew == 0 {
		c.Skew = signing.DefaultSkew
	}
	if c.OtherQueue == "" {
		c.OtherQueue = c.Queue + "-other"
	}
	if c.UnservedQueue == "" {
		c.UnservedQueue = c.Queue + "-unserved"
	}
	if c.MaxAge == 0 {
		c.MaxAge = time.Hour
	}
	if c.Payload == nil {
		c.Payload = []byte(`{"attack":"this must not reach a handler"}`)
	}
	if c.MaxRetry == 0 {
		c.MaxRetry = 5
	}
	if c.IDPrefix == "" {
		c.IDPrefix = "attack"
	}
	return c
}

// Genuine makes the task that every case starts from: a target that refuses it proves nothing by refusing the cases.
func (f *Forge) Genuine() (Shot, error) {
	s, err := Case{Name: "it is genuine", NeedsKeys: true}.Make(f)
	return s, err
}

// Served reports whether the configured target serves the queue.
func (f *Forge) Served(queue string) bool {
	return queue == f.config.Queue || queue == f.config.OtherQueue
}

// Kind returns the rule by which the configured target runs the kind, and false for all but two kinds.
func (f *Forge) Kind(kind string) (signing.KindRule, bool) {
	switch kind {
	case f.config.Kind:
		return signing.KindRule{MaxAge: f.config.MaxAge}, true
	case f.config.EncryptedKind:
		return signing.KindRule{MaxAge: f.config.MaxAge, MustEncrypt: true}, kind != ""
	default:
		return signing.KindRule{}, false
	}
}

// forgery is a case in the making: a genuine task until somebody changes it.
type forgery struct {
	config   *Config
	now      time.Time
	active   signing.KeyInfo
	ring     *signing.Ring // what the target must hold; nil: the forge's
	task     signing.Task
	envelope envelope
	audience string // what the tag is for
	secret   []byte // what the tag is made with
	list, id string // where it is put; empty: where the task says
	err      error
}

// begin makes a genuine task, or one that only lacks the target's key.
func (f *Forge) begin(stranger bool) (*forgery, error) {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails: the process ends instead
	c := &f.config
	g := &forgery{
		config: c, now: c.Now().UTC().Truncate(time.Millisecond), active: f.active, audience: c.Audience, secret: f.secret,
		task: signing.Task{
			Kind: c.Kind, ID: c.IDPrefix + "-" + hex.EncodeToString(random[16:]), Queue: c.Queue, MaxRetry: c.MaxRetry,
			Headers: map[string]string{}, Payload: bytes.Clone(c.Payload),
		},
	}
	g.task.Headers["tenant"], g.task.Headers["traceparent"] = "acme", "00-4bf92f3577b34da6-01"
	g.task.Headers[signing.EffectHeader] = g.task.ID + "-effect"
	g.envelope = envelope{version: 1, kid: f.active.KID, nonce: [16]byte(random[:16])}
	g.times(0, 0, g.life())
	if stranger || f.secret == nil {
		if err := g.useStranger(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// life is how long a genuine task lives: at most what its kind allows.
func (g *forgery) life() time.Duration { return min(g.config.MaxAge, 30*time.Minute) }

// times sets issue, due time and end, relative to now.
func (g *forgery) times(iat, nbf, exp time.Duration) {
	e := &g.envelope
	e.iat, e.nbf, e.exp = millis(g.now.Add(iat)), millis(g.now.Add(nbf)), millis(g.now.Add(exp))
}

func millis(t time.Time) uint64 { return uint64(t.UnixMilli()) }

// useStranger signs with a key that nobody knows.
func (g *forgery) useStranger() error {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails: the process ends instead
	return g.use(secret)
}

// use signs with the secret, under its own kid.
func (g *forgery) use(secret []byte) error {
	kid, err := kidOf(secret)
	if err != nil {
		return err
	}
	g.secret, g.envelope.kid = secret, kid
	return nil
}

// useNewest signs with the last key of the ring that the target will hold.
func (g *forgery) useNewest() {
	keys := g.ring.Keys()
	secrets, err := secretsOf(g.ring)
	if err != nil {
		g.err = err
		return
	}
	g.secret, g.envelope.kid = secrets[keys[len(keys)-1].KID], keys[len(keys)-1].KID
}
