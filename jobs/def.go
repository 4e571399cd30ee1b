package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/sealq/sealq/signing"
)

// Def is the definition of a kind whose arguments are an A. It is a value: declare it once, pass it to
// whoever enqueues and to the worker that handles it. A mistake in it is reported by Err, and by everything
// that takes the definition.
type Def[A any] struct {
	kind   Kind
	policy Policy
	err    error
}

// Define makes the definition of a kind.
func Define[A any](kind Kind, p Policy) Def[A] {
	d := Def[A]{kind: kind, policy: p.withDefaults()}
	if err := checkKind(kind); err != nil {
		d.err = fmt.Errorf("define %q: %w", kind, err)
	} else if err := p.withDefaults().check(); err != nil {
		d.err = fmt.Errorf("define %q: %w", kind, err)
	}
	return d
}

// Kind is the task type that the definition names.
func (d Def[A]) Kind() Kind { return d.kind }

// Policy is the definition's policy with every default filled in.
func (d Def[A]) Policy() Policy { return d.policy }

// Err says what is wrong with the definition, nil if nothing is.
func (d Def[A]) Err() error {
	if d.err == nil && d.kind == "" {
		return fmt.Errorf("define: %w: the zero Def has no kind; use Define", ErrInvalidName)
	}
	return d.err
}

// With makes a job of this kind. What is wrong with the arguments or options is reported when it is enqueued.
func (d Def[A]) With(args A, opts ...Option) Job {
	payload, err := encodeArgs(args)
	return d.job(payload, err, opts)
}

// Parse makes a job from arguments in JSON, decoded as strictly as a worker does.
func (d Def[A]) Parse(args []byte, opts ...Option) (Job, error) {
	decoded, err := decodeArgs[A](args)
	if err != nil {
		return Job{}, fmt.Errorf("parse %s: %w", d.kind, err)
	}
	j := d.With(decoded, opts...)
	return j, j.err
}

// Decode gives out the arguments of a verified task. It is the only decoder, and only signing.Keys makes the
// Verified it needs.
func (d Def[A]) Decode(v signing.Verified) (A, error) {
	if got := v.Claims().Kind; got != string(d.kind) {
		var none A
		return none, fmt.Errorf("decode %s: %w: the task's kind is %q", d.kind, ErrInvalidArgs, got)
	}
	args, err := decodeArgs[A](v.Payload())
	if err != nil {
		return args, fmt.Errorf("decode %s: %w", d.kind, err)
	}
	return args, nil
}

// Check says whether payload would decode as this kind's arguments.
func (d Def[A]) Check(payload []byte) error {
	if _, err := decodeArgs[A](payload); err != nil {
		return fmt.Errorf("check %s: %w", d.kind, err)
	}
	return nil
}

func (d Def[A]) job(payload []byte, err error, opts []Option) Job {
	j := Job{kind: d.kind, policy: d.policy, payload: payload, retries: d.policy.Retries, queue: d.policy.Queue}
	if d.policy.Unique {
		sum := sha256.Sum256(payload)
		j.uniqueKey = string(d.kind) + ":" + hex.EncodeToString(sum[:])
	}
	if len(opts) > 0 {
		j = j.with(opts)
	}
	if err == nil {
		err = d.Err()
	}
	if err == nil {
		err = j.checkSize()
	}
	if err == nil && len(opts) > 0 { // without options it is as Define checked it
		err = j.check()
	}
	if err != nil {
		j.err = fmt.Errorf("job %s: %w", d.kind, err)
	}
	return j
}

// Definition is a Def of any arguments.
type Definition interface {
	Kind() Kind
	Policy() Policy
	Err() error
	// Parse makes a job from JSON arguments.
	Parse(args []byte, opts ...Option) (Job, error)
	// Check says whether a payload decodes.
	Check(payload []byte) error
	// Arguments says which arguments there are.
	Arguments() []Argument
}
