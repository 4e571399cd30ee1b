package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

const (
	// MaxPasswordBytes bounds every password, whatever the policy says.
	MaxPasswordBytes = 1024
	// MinPasswordChars is the least number of characters (code points) that DefaultPasswordPolicy accepts.
	MinPasswordChars = 8

	maxBcryptBytes = 72 // bcrypt looks at no more
	maxBcryptCost  = 16 // about five seconds
	saltBytes      = 16
	hashBytes      = 32
)

// The causes in a PasswordError that the package itself finds.
var (
	ErrPasswordTooShort = fmt.Errorf("it needs at least %d characters", MinPasswordChars)
	ErrPasswordTooLong  = fmt.Errorf("it is longer than %d bytes", MaxPasswordBytes)
	ErrPasswordNotText  = errors.New("it is not valid UTF-8, or contains NUL")
	ErrPasswordCommon   = errors.New("it is among the passwords that are guessed first")
	ErrPasswordIsEmail  = errors.New("it repeats the e-mail address")
)

// PasswordPolicy says why a new password is not good enough: its error becomes the Cause of a PasswordError, so it must be a sentence that a
// person may see and must not repeat the password. The password has 1 to MaxPasswordBytes bytes of valid UTF-8 without NUL.
type PasswordPolicy func(ctx context.Context, email Email, password string) error

//go:embed common_passwords.txt
var commonPasswords string

// DefaultPasswordPolicy follows NIST SP 800-63B: at least MinPasswordChars characters, none of the most common passwords in any case, not the address
// or its local part, and no rules of composition.
func DefaultPasswordPolicy() PasswordPolicy {
	common := make(map[string]bool)
	for line := range strings.Lines(commonPasswords) {
		common[strings.TrimSpace(line)] = true
	}
	return func(_ context.Context, email Email, password string) error {
		lower := strings.ToLower(norm.NFC.String(password))
		local, _, _ := strings.Cut(email.norm, "@")
		switch {
		case utf8.RuneCountInString(norm.NFC.String(password)) < MinPasswordChars:
			return ErrPasswordTooShort
		case common[lower]:
			return ErrPasswordCommon
		case lower == email.norm, lower == strings.ToLower(email.given), lower == local:
			return ErrPasswordIsEmail
		}
		return nil
	}
}

// checkBounds refuses what no policy can allow.
func checkBounds(password string) error {
	switch {
	case password == "":
		return ErrPasswordTooShort
	case len(password) > MaxPasswordBytes:
		return ErrPasswordTooLong
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return ErrPasswordNotText
	}
	return nil
}

// checkNewPassword applies the bounds and the policy.
func (a *Accounts[Tx]) checkNewPassword(ctx context.Context, email Email, password string) error {
	err := checkBounds(password)
	if err == nil {
		err = a.cfg.PasswordPolicy(ctx, email, password)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("password policy: %w", err)
	}
	return &PasswordError{Cause: err}
}

// hasher computes password hashes, as many at once as it has slots.
type hasher struct {
	cost     HashCost
	slots    chan struct{}
	computed atomic.Uint64
}

func newHasher(c HashCost, parallel int) *hasher {
	return &hasher{cost: c, slots: make(chan struct{}, parallel)}
}

// errUnreadableHash is for the log: a stored hash that is neither a PHC string within the caps nor bcrypt.
var errUnreadableHash = errors.New("unreadable password hash")

func (h *hasher) acquire(ctx context.Context) error {
	err := ctx.Err() // select would choose by chance
	if err == nil {
		select {
		case h.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return fmt.Errorf("wait for a password hash: %w", err)
}

func (h *hasher) release() { <-h.slots }

// hash makes a PHC string of a new password.
func (h *hasher) hash(ctx context.Context, password string) (PasswordHash, error) {
	if err := h.acquire(ctx); err != nil {
		return PasswordHash{}, err
	}
	defer h.release()
	p := phc{cost: h.cost, salt: make([]byte, saltBytes)}
	_, _ = rand.Read(p.salt) // never fails (crypto/rand)
	p.hash = h.derive(password, p.salt, h.cost, hashBytes)
	return NewPasswordHash(p.String()), nil
}

// verify compares. Whatever the outcome, and without a stored hash too, one hash has been computed when it returns without a context's error. outdated
// says that a matching hash should be replaced by one of today's cost.
func (h *hasher) verify(ctx context.Context, stored PasswordHash, password string) (match, outdated bool, err error) {
	if err := h.acquire(ctx); err != nil {
		return false, false, err
	}
	defer h.release()
	text := stored.RevealText()
	switch {
	case text == "":
		h.spend(password)
		return false, false, nil
	case strings.HasPrefix(text, phcPrefix):
		p, err := parsePHC(text)
		if err != nil {
			h.spend(password)
			return false, false, fmt.Errorf("%w: %w", errUnreadableHash, err)
		}
		got := h.derive(password, p.salt, p.cost, len(p.hash))
		return subtle.ConstantTimeCompare(got, p.hash) == 1, p.cost != h.cost || len(p.hash) != hashBytes, nil
	}
	return h.verifyBcrypt(text, password)
}

func (h *hasher) verifyBcrypt(text, password string) (match, outdated bool, err error) {
	cost, err := bcrypt.Cost([]byte(text))
	switch {
	case err != nil:
		h.spend(password)
		return false, false, fmt.Errorf("%w: neither argon2id nor bcrypt", errUnreadableHash)
	case cost > maxBcryptCost:
		h.spend(password)
		return false, false, fmt.Errorf("%w: bcrypt cost %d is over %d", errUnreadableHash, cost, maxBcryptCost)
	case len(password) > maxBcryptBytes:
		h.spend(password) // else a quick answer would tell that the account exists
		return false, false, nil
	}
	err = bcrypt.CompareHashAndPassword([]byte(text), []byte(password))
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) { // nothing was computed
		h.spend(password)
		return false, false, fmt.Errorf("%w: bcrypt: %w", errUnreadableHash, err)
	}
	h.computed.Add(1)
	return err == nil, true, nil
}

// spend does the work of verifying for nothing.
func (h *hasher) spend(password string) {
	h.derive(password, make([]byte, saltBytes), h.cost, hashBytes)
}

func (h *hasher) derive(password string, salt []byte, c HashCost, size int) []byte {
	h.computed.Add(1)
	return argon2.IDKey([]byte(norm.NFC.String(password)), salt, c.Passes, c.MemoryKiB, c.Lanes, uint32(size)) //nolint:gosec // size is at most 64
}
