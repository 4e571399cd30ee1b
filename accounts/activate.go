package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// keyChars is the length of 32 bytes in base64url without padding.
const keyChars = 43

// KeyHash is what the store keeps of an activation key: the SHA-256 of the key's text, its 43 characters as they stand in the link, not of the 32 bytes
// that they encode. Whoever mails a key must store this.
func KeyHash(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// Activate makes a pending user a user, in tx, which the caller commits. A key works once and only before its registration expires by the
// database's clock.
//
// Errors: ErrUnknownKey for every key that activates nothing, and the store is not even asked for one that is no 43 characters of base64url; ErrAlreadyActive
// when an account of that address came into being meanwhile.
func (a *Accounts[Tx]) Activate(ctx context.Context, tx Tx, key string) (User, error) {
	if !wellFormedKey(key) {
		return User{}, fmt.Errorf("activate: %w", ErrUnknownKey)
	}
	u, err := a.store.ActivatePending(ctx, tx, Activation{KeyHash: KeyHash(key), RequireSent: a.cfg.RequireSent})
	if err != nil {
		return User{}, fmt.Errorf("activate: %w", err)
	}
	if err := a.record(ctx, tx, Change{Actor: public, Action: "account.activated", Subject: userSubject(u.ID)}); err != nil {
		return User{}, fmt.Errorf("activate: %w", err)
	}
	return u, nil
}

// wellFormedKey accepts the one spelling that 32 bytes have in base64url.
func wellFormedKey(key string) bool {
	if len(key) != keyChars || strings.ContainsAny(key, "\r\n") { // which Strict skips
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(key)
	return err == nil
}
