// Package drill fires the attack corpus at a running system and judges what became of each shot: refused for the reason that
// the case expects, with its bytes in quarantine; put off; or ended as a duplicate. It fires slowly enough that an honest
// worker's key alarm stays quiet.
//
// It believes neither Redis nor the worker: a task that left the queue and stands in no quarantine has failed. It writes no
// task over another, and removes only tasks that it wrote itself and that still bear its mark.
package drill

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/signing/attack"
)

// Quarantine shows what the target refused.
type Quarantine interface {
	// QuarantineList lists at most limit entries, the newest first. It may leave out payloads and headers.
	QuarantineList(ctx context.Context, limit int) ([]jobs.Refused, error)
	// QuarantineShow reads one whole.
	QuarantineShow(ctx context.Context, id string) (jobs.Refused, error)
}

// Ledger knows the target's effects.
type Ledger interface {
	EffectDone(ctx context.Context, kind jobs.Kind, effect string) (bool, error)
}

// Config says what is known of the target. Queue and Kind are required.
type Config struct {
	// Ring and Audience are the target's. Nil: only cases that need no keys are fired.
	Ring     *signing.Ring
	Audience string
	// Queue is one that the target serves.
	Queue string
	// OtherQueue is another one. Empty: the cases that lie there are not fired.
	OtherQueue string
	// Kind and Args are a harmless job: with a Ring, genuine tasks run it. Empty Args: the corpus's own, which no handler takes.
	Kind string
	Args []byte
	// MaxAge is the kind's. Zero: the Ring's max_lifetime.
	MaxAge time.Duration
	// Quarantine is where the target keeps what it refuses. Nil: a shot that left the queue is not judged.
	Quarantine Quarantine
	// Ledger is the target's. Nil: cases whose effect must be done already are not fired.
	Ledger Ledger
	// Patience is how long a shot may wait for its end. Zero: 30 s.
	Patience time.Duration
	// KeyShots is how many shots are fired within 10 s that are refused for their key. Zero: 15, which raises no key alarm.
	KeyShots int
	// Progress is told after each shot, never by two goroutines at once. Zero: nobody is.
	Progress func(done, all int)
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

const (
	defaultPatience = 30 * time.Second
	// defaultKeyShots is below the 20 refusals in 10 s that raise a worker's key alarm.
	defaultKeyShots = 15
	// keyWindow is the alarm's, and a second for clocks that run apart.
	keyWindow = 11 * time.Second
)

// Drill is one run. It is used once.
type Drill struct {
	Config
	run   string // marks what is this run's
	cases []attack.Case
	unfit map[string]string // why a case is not fired, by its name
	queue queue
	shelf *shelf
	pace  pacer
}

// New checks what is known of the target. It reaches nothing.
func New(c Config) (*Drill, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.KeyShots == 0 {
		c.KeyShots = defaultKeyShots
	}
	if c.MaxAge == 0 && c.Ring != nil {
		c.MaxAge = c.Ring.MaxLifetime()
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails: the process ends instead
	d := &Drill{
		Config: c, run: hex.EncodeToString(random[:]), cases: attack.Cases(), unfit: make(map[string]string),
		pace: pacer{limit: c.KeyShots, window: keyWindow, now: c.Now},
	}
	d.queue.mark = d.run + "-"
	if c.Quarantine != nil {
		d.shelf = &shelf{quarantine: c.Quarantine, now: c.Now}
	}
	for n, a := range d.cases {
		f, err := d.forge(n)
		if err != nil {
			return nil, err
		}
		s, err := a.Make(f)
		if err != nil && !errors.Is(err, attack.ErrUnsuitable) {
			return nil, err
		}
		if why := d.unfitting(a, s, err); why != "" {
			d.unfit[a.Name] = why
		}
	}
	return d, nil
}

// forge makes the shots of the case with that number. Some cases move a byte out of an ID, or swap it with the kind: the
// mark in its midst stays whole.
func (d *Drill) forge(n int) (*attack.Forge, error) {
	return attack.NewForge(attack.Config{
		Ring: d.Ring, Audience: d.Audience, Now: d.Now, Queue: d.Queue, OtherQueue: d.OtherQueue, Kind: d.Kind, Payload: d.Args,
		MaxAge: d.MaxAge, IDPrefix: "drill-" + d.mark(n),
	})
}

func (d *Drill) mark(n int) string { return fmt.Sprintf("%s-%03d-", d.run, n) }

// unfitting says why a case is not fired at this target.
func (d *Drill) unfitting(a attack.Case, s attack.Shot, err error) string {
	switch {
	case a.NeedsKeys && d.Ring == nil:
		return "it needs the target's keys"
	case err != nil:
		return "it needs a kind that is only run encrypted"
	case s.Ring != nil:
		return "it needs a target whose ring says something else about the key"
	case a.Want == "" && d.Ledger == nil:
		return "it needs a target with a ledger"
	case d.OtherQueue == "" && s.List != d.Queue:
		return "it needs another queue that is served"
	}
	return ""
}

// Plan is what a run is going to do.
type Plan struct {
	Run     string        // the tasks' IDs begin with "drill-" and this
	Fired   int           // cases
	Unfit   int           // cases that are not fired
	Genuine int           // genuine tasks that run
	AtLeast time.Duration // what the pace takes
}

// Plan tells what Run is going to do.
func (d *Drill) Plan() Plan {
	p := Plan{Run: d.run, Unfit: len(d.unfit), Fired: len(d.cases) - len(d.unfit)}
	keyShots := 0
	for n, a := range d.cases {
		if d.unfit[a.Name] != "" {
			continue
		}
		if aboutKeys(a.Want) {
			keyShots++
		}
		if f, err := d.forge(n); err == nil {
			if s, err := a.Make(f); err == nil && s.First != nil {
				p.Genuine++
			}
		}
	}
	if d.Ring != nil {
		p.Genuine++ // the first one
	}
	p.AtLeast = time.Duration((keyShots-1)/d.KeyShots) * keyWindow
	return p
}
