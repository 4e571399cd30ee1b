package operators

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
)

// Config of Operators. Every zero value means what its comment says.
type Config struct {
	// Issuer is what authenticator apps call the deployment. Zero: "sealq".
	Issuer string
	// Lockout is after how many failures in a row a name, or the code of one, is refused unseen, and for how long. Zero: 5, 15 minutes.
	Lockout accounts.Lockout
	// Idle is how long a session lasts without a request. Zero: 1 hour.
	Idle time.Duration
	// Life is how long one lasts whatever is done. Zero: 12 hours.
	Life time.Duration
	// CodeTime is how long after the password the code may be shown. Zero: 10 minutes.
	CodeTime time.Duration
	// Hash is the cost of password hashes. Zero: that of package accounts.
	Hash accounts.HashCost
	// Now is the clock that codes are made by. Zero: time.Now.
	Now func() time.Time
	// Logger hears of locks. Zero: nothing is logged.
	Logger *slog.Logger
}

// Operators decides who may come in. It is safe for concurrent use.
type Operators struct {
	store  Store
	cfg    Config
	hasher *accounts.Hasher
}

// New makes Operators over a store.
func New(s Store, c Config) (*Operators, error) {
	if s == nil {
		return nil, errors.New("new operators: a store is needed")
	}
	c.Issuer = cmp.Or(c.Issuer, "sealq")
	c.Lockout.Limit = cmp.Or(c.Lockout.Limit, 5)
	c.Lockout.For = cmp.Or(c.Lockout.For, 15*time.Minute)
	c.Idle, c.Life, c.CodeTime = cmp.Or(c.Idle, time.Hour), cmp.Or(c.Life, 12*time.Hour), cmp.Or(c.CodeTime, 10*time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for name, d := range map[string]time.Duration{"Idle": c.Idle, "Life": c.Life, "CodeTime": c.CodeTime, "Lockout.For": c.Lockout.For} {
		if d < time.Second || d%time.Millisecond != 0 {
			return nil, fmt.Errorf("new operators: %s %s: a second or more, in whole milliseconds, is needed", name, d)
		}
	}
	if c.Lockout.Limit < 1 {
		return nil, fmt.Errorf("new operators: Lockout.Limit %d: at least one attempt is needed", c.Lockout.Limit)
	}
	hasher, err := accounts.NewHasher(c.Hash, 0)
	if err != nil {
		return nil, fmt.Errorf("new operators: %w", err)
	}
	return &Operators{store: s, cfg: c, hasher: hasher}, nil
}

// maxName is how long a name may be, in bytes.
const maxName = 64

func checkName(name string) error {
	const first, rest = "abcdefghijklmnopqrstuvwxyz0123456789", "._-@+"
	if name == "" || len(name) > maxName || !strings.Contains(first, name[:1]) ||
		strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(first+rest, r) }) {
		return ErrInvalidName
	}
	return nil
}

// Add makes an operator, in the name of actor. Errors: ErrInvalidName, ErrInvalidRole, ErrNameTaken, ErrNoActor, an *accounts.PasswordError.
func (o *Operators) Add(ctx context.Context, actor, name, password string, role Role) error {
	switch {
	case actor == "":
		return ErrNoActor
	case checkName(name) != nil:
		return ErrInvalidName
	case role.rank() == 0:
		return ErrInvalidRole
	}
	hash, err := o.hasher.New(ctx, name, password)
	if err != nil {
		return err
	}
	return o.store.SaveOperator(ctx, NewOperator{ID: newID(), Name: name, PasswordHash: hash, Role: role},
		entry(actor, "operator.added", name, map[string]string{"role": string(role)}))
}

// List lists the operators by their names.
func (o *Operators) List(ctx context.Context) ([]Operator, error) { return o.store.Operators(ctx) }

// SetRole changes what an operator may do. It says whether that was a change, which ends his sessions.
func (o *Operators) SetRole(ctx context.Context, actor, name string, role Role) (changed bool, err error) {
	if role.rank() == 0 {
		return false, ErrInvalidRole
	}
	return o.change(ctx, actor, name, "operator.role_changed", Change{Role: role}, map[string]string{"role": string(role)})
}

// SetDisabled shuts an operator out, or lets him in again. It says whether that was a change, which ends his sessions, and his keys for
// good where he is shut out.
func (o *Operators) SetDisabled(ctx context.Context, actor, name string, disabled bool) (changed bool, err error) {
	action := "operator.enabled"
	if disabled {
		action = "operator.disabled"
	}
	return o.change(ctx, actor, name, action, Change{Disabled: &disabled}, nil)
}

// SetPassword gives an operator another password, ends his sessions and keys and lifts the lock of his name. Errors: ErrNoActor, ErrNoSuchOperator, an
// *accounts.PasswordError.
func (o *Operators) SetPassword(ctx context.Context, actor, name, password string) error {
	hash, err := o.hasher.New(ctx, name, password)
	if err != nil {
		return err
	}
	_, err = o.change(ctx, actor, name, "operator.password_changed", Change{PasswordHash: hash, Clears: []string{passwordCounter(name)}}, nil)
	return err
}

// ResetFactor takes an operator's second factor, his recovery codes, locks, sessions and keys away, so that he enrols a new one after his password.
func (o *Operators) ResetFactor(ctx context.Context, actor, name string) (changed bool, err error) {
	return o.change(ctx, actor, name, "operator.mfa_reset", Change{DropFactor: true, Clears: []string{passwordCounter(name), codeCounter(name)}}, nil)
}

func (o *Operators) change(ctx context.Context, actor, name, action string, c Change, detail map[string]string) (bool, error) {
	if actor == "" {
		return false, ErrNoActor
	}
	return o.store.ChangeOperator(ctx, name, c, entry(actor, action, name, detail))
}

func entry(actor, action, name string, detail map[string]string) audit.Entry {
	return audit.Entry{Actor: actor, Action: action, Subject: "operator/" + name, Detail: detail}
}

// Actor is how the audit log names an operator.
func Actor(name string) string { return "operator:" + name }

// The counters of failed attempts stand among those of the app's users, under names that no address has: a local part holds no colon.
func passwordCounter(name string) string { return "operator:" + name }
func codeCounter(name string) string     { return "operator-code:" + name }

func newID() string { return uuid.Must(uuid.NewRandom()).String() }

// newToken has 256 bits, and reads as 43 characters of the base64url alphabet.
func newToken() (text string, hash [32]byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	text = base64.RawURLEncoding.EncodeToString(b[:])
	return text, tokenHash(text)
}

func tokenHash(text string) [32]byte { return sha256.Sum256([]byte(text)) }
