package operators

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Session returns whose token it is, or ErrNoSession. used says whether a person has asked: what a page asks by itself does not keep
// a session alive.
func (o *Operators) Session(ctx context.Context, token string, used bool) (Session, error) {
	if b, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(b) != 32 {
		return Session{}, ErrNoSession
	}
	return o.store.UseOperatorSession(ctx, tokenHash(token), o.cfg.Idle, used)
}

// Logout ends the session. One that is over already is no error.
func (o *Operators) Logout(ctx context.Context, s Session) error {
	_, err := o.store.EndOperatorSession(ctx, s.OperatorID, s.ID)
	return err
}

// Sessions lists an operator's sessions, the newest first.
func (o *Operators) Sessions(ctx context.Context, operatorID string) ([]Session, error) {
	return o.store.OperatorSessions(ctx, operatorID)
}

// EndSession ends one of the operator's sessions, and says whether there was one.
func (o *Operators) EndSession(ctx context.Context, operatorID, id string) (ended bool, err error) {
	return o.store.EndOperatorSession(ctx, operatorID, id)
}

// keyPrefix begins a key, so that scanners of repositories find one that was left there.
const keyPrefix = "sealqk_"

// The least and the most that a key may live.
const minKeyLife, maxKeyLife = time.Minute, 366 * 24 * time.Hour

// NewKey makes a key of an operator for scripts, and returns it: nobody can be shown it again. It can what role can, RoleOperator at most, and
// never more than its operator. Errors: ErrInvalidKey, ErrNoSuchOperator.
func (o *Operators) NewKey(ctx context.Context, s Session, name string, role Role, life time.Duration) (secret string, err error) {
	return o.newKey(ctx, Actor(s.Name), s.OperatorID, s.Name, name, role, life)
}

// NewKeyFor does so in actor's name, who need not be logged in: the command line, for a program such as Prometheus. Errors: likewise, and ErrNoActor.
func (o *Operators) NewKeyFor(ctx context.Context, actor, operator, name string, role Role, life time.Duration) (secret string, err error) {
	if actor == "" {
		return "", ErrNoActor
	}
	found, err := o.store.FindOperator(ctx, operator)
	if err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	return o.newKey(ctx, actor, found.ID, found.Name, name, role, life)
}

func (o *Operators) newKey(ctx context.Context, actor, operatorID, operator, name string, role Role, life time.Duration) (secret string, err error) {
	name = strings.TrimSpace(name)
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) ||
		role != RoleViewer && role != RoleOperator || life < minKeyLife || life > maxKeyLife || life%time.Millisecond != 0 {
		return "", ErrInvalidKey
	}
	text, _ := newToken()
	secret = keyPrefix + text
	k := NewKey{ID: newID(), Hash: tokenHash(secret), OperatorID: operatorID, Name: name, Role: role, Life: life}
	e := entry(actor, "api_key.made", operator, map[string]string{"key": k.ID, "name": name, "role": string(role), "life": life.String()})
	if err := o.store.SaveAPIKey(ctx, k, e); err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	return secret, nil
}

// Key returns what a key may, or ErrNoKey.
func (o *Operators) Key(ctx context.Context, secret string) (Key, error) {
	if text, ok := strings.CutPrefix(secret, keyPrefix); !ok || len(text) != 43 {
		return Key{}, ErrNoKey
	}
	return o.store.UseAPIKey(ctx, tokenHash(secret))
}

// Keys lists the keys that are not revoked, the newest first.
func (o *Operators) Keys(ctx context.Context) ([]Key, error) { return o.store.APIKeys(ctx) }

// RevokeKey ends a key at once, and says whether there was one.
func (o *Operators) RevokeKey(ctx context.Context, s Session, k Key) (revoked bool, err error) {
	return o.store.RevokeAPIKey(ctx, k.ID, entry(Actor(s.Name), "api_key.revoked", k.Operator, map[string]string{"key": k.ID, "name": k.Name}))
}
