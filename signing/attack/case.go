package attack

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/sealq/sealq/signing"
)

// Class groups the cases by what they try.
type Class string

// The classes.
const (
	Form     Class = "form"      // the signature's text, and limits
	Header   Class = "header"    // the fields of the signature
	Key      Class = "key"       // which key made the tag, and how
	Boundary Class = "boundary"  // what the tag covers besides the payload, and where one part ends
	Payload  Class = "payload"   // the payload, readable and encrypted
	Time     Class = "time"      // issued, due, expired
	KeyState Class = "key state" // what the ring says about the key
	Replay   Class = "replay"    // a genuine task once more
	Mux      Class = "mux"       // kinds that a handler's pattern would match
	Copy     Class = "copy"      // a genuine message in another list or under another key
)

// ErrUnsuitable says that a case needs what the forge does not have: the target's keys, or a kind that it wants encrypted.
var ErrUnsuitable = errors.New("the case needs what this forge does not have")

// Case is one attack.
type Case struct {
	Name  string // a sentence about the task, and one of a kind
	Class Class
	// Want is the reason of the refusal. It is empty where the target must find the effect done already, and end the task as a
	// success without an effect.
	Want signing.Reason
	// Deferred tells that the target must leave the task to be tried later, without counting a failure.
	Deferred bool
	// NeedsKeys tells that a forge without the target's ring cannot make the case. The others can be fired at a system of
	// which only the queue is known.
	NeedsKeys bool

	change   func(r *signing.Ring, now time.Time) (*signing.Ring, error) // of the ring that the target holds; nil: none
	stranger bool                                                        // a key that the target never saw signs
	original bool                                                        // the genuine task has run before
	before   func(g *forgery)                                            // changes what is signed
	tag      func(g *forgery) []byte                                     // makes the tag; nil: as the format says
	raw      func(b []byte)                                              // changes the signature's 78 bytes
	text     func(sig string) string                                     // changes the signature's text
	after    func(g *forgery)                                            // changes what is stored
}

// Shot is a case made ready: what to put where, and what must be so before.
type Shot struct {
	// Task is what the message says. Its headers hold the signature, if there is one.
	Task signing.Task
	// List is the queue under whose name the message is put, and ID the one in its key. Both are mostly the task's own; where
	// they differ, a worker may remove the message before it verifies it.
	List, ID string
	// Ring is what the target must hold; nil means the forge's own ring.
	Ring *signing.Ring
	// First is the genuine task, to be put where it says itself and to have its effect before; nil means none.
	First *signing.Task
}

// Signature returns the signature that a worker finds.
func (s Shot) Signature() string { return s.Task.Headers[signing.SignatureHeader] }

// String names the case.
func (c Case) String() string { return string(c.Class) + ": " + c.Name }

// Make makes the case ready. Every call makes another task.
func (c Case) Make(f *Forge) (Shot, error) {
	if c.NeedsKeys && f.config.Ring == nil {
		return Shot{}, fmt.Errorf("make the case %q: %w: the target's key ring", c.Name, ErrUnsuitable)
	}
	g, err := f.begin(c.stranger)
	if err != nil {
		return Shot{}, fmt.Errorf("make the case %q: %w", c.Name, err)
	}
	if c.change != nil {
		if g.ring, err = c.change(f.config.Ring, g.now); err != nil {
			return Shot{}, fmt.Errorf("make the case %q: change the ring: %w", c.Name, err)
		}
	}
	if c.before != nil {
		c.before(g)
	}
	tag := c.tag
	if tag == nil {
		tag = (*forgery).genuineTag
	}
	raw := append(g.envelope.bytes(), tag(g)...)
	if c.raw != nil {
		c.raw(raw)
	}
	sig := encode(raw)
	if c.text != nil {
		sig = c.text(sig)
	}
	g.task.Headers[signing.SignatureHeader] = sig
	shot := Shot{Ring: g.ring}
	if c.original {
		shot.First = new(cloneTask(g.task))
	}
	if c.after != nil {
		c.after(g)
	}
	if g.err != nil {
		return Shot{}, fmt.Errorf("make the case %q: %w", c.Name, g.err)
	}
	shot.Task, shot.List, shot.ID = g.task, g.list, g.id
	if shot.List == "" {
		shot.List = g.task.Queue
	}
	if shot.ID == "" {
		shot.ID = g.task.ID
	}
	return shot, nil
}

func cloneTask(t signing.Task) signing.Task {
	t.Headers, t.Payload = maps.Clone(t.Headers), bytes.Clone(t.Payload)
	return t
}
