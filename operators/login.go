package operators

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
)

// Login checks name and password, and begins a session, whose token it returns. The session is complete where no code is wanted. Every
// refusal is ErrRefused.
func (o *Operators) Login(ctx context.Context, name, password string, from From) (token string, complete bool, err error) {
	if checkName(name) != nil {
		return "", false, ErrRefused // nobody can have it, so neither charge nor hash is due
	}
	charge, err := o.charge(ctx, passwordCounter(name))
	if err != nil {
		return "", false, err
	}
	known, err := o.store.FindOperator(ctx, name)
	if err != nil && !errors.Is(err, ErrNoSuchOperator) {
		return "", false, fmt.Errorf("log in: %w", err)
	}
	match, err := o.hasher.Verify(ctx, known.PasswordHash, password)
	if err != nil {
		return "", false, fmt.Errorf("log in: %w", err)
	}
	if !match || known.Disabled {
		o.tellLock(ctx, name, charge)
		return "", false, ErrRefused
	}
	complete = !known.Factor && known.Role != RoleAdmin
	s := NewSession{
		ID: newID(), OperatorID: known.ID, Verified: known.PasswordHash, Complete: complete, Life: o.cfg.CodeTime,
		Clears: []string{passwordCounter(name)}, From: from,
	}
	token, err = o.begin(ctx, s, name, "password")
	if errors.Is(err, ErrNoSession) { // disabled, or with another password, meanwhile
		err = ErrRefused
	}
	return token, complete, err
}

// begin writes a session under a fresh token, and enters it where it is complete.
func (o *Operators) begin(ctx context.Context, s NewSession, name, by string) (token string, err error) {
	token, s.Token = newToken()
	s.From = From{Agent: printable(s.From.Agent, 200), Remote: printable(s.From.Remote, 64)}
	var e audit.Entry
	if s.Complete {
		s.Life = o.cfg.Life
		e = entry(Actor(name), "operator.logged_in", name, map[string]string{"by": by, "remote": s.From.Remote})
	}
	if err := o.store.SaveOperatorSession(ctx, s, e); err != nil {
		return "", err
	}
	return token, nil
}

// printable cuts what a stranger says of himself.
func printable(text string, most int) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), most)], ""))
}

// charge counts an attempt, before what it shows is looked at. The attempt that reaches the limit is the last that is looked at.
func (o *Operators) charge(ctx context.Context, counter string) (accounts.Charge, error) {
	charge, err := o.store.ChargeAttempt(ctx, counter, o.cfg.Lockout)
	if err != nil {
		return charge, fmt.Errorf("log in: charge the attempt: %w", err)
	}
	if !charge.Allowed {
		return charge, ErrRefused
	}
	return charge, nil
}

func (o *Operators) tellLock(ctx context.Context, name string, c accounts.Charge) {
	if c.LockedFor > 0 {
		o.cfg.Logger.WarnContext(ctx, "an operator's name is locked after too many failed attempts",
			slog.String("operator", name), slog.Duration("locked_for", c.LockedFor))
	}
}

// Propose returns the second factor that this session may enrol: the same one each time. Errors: ErrNoSession, ErrEnrolled.
func (o *Operators) Propose(ctx context.Context, token string) (Proposal, error) {
	s, err := o.Session(ctx, token, true)
	if err != nil {
		return Proposal{}, err
	}
	if s.Factor {
		return Proposal{}, ErrEnrolled
	}
	secret, err := o.propose(ctx, token)
	if err != nil {
		return Proposal{}, err
	}
	return newProposal(o.cfg.Issuer, s.Name, secret), nil
}

// propose returns the secret that the session was shown, or gives it one. It is a random one whoever asks: a form may come with a session to which
// none was shown yet, and what is offered then is what it is shown next.
func (o *Operators) propose(ctx context.Context, token string) (secret []byte, err error) {
	fresh := make([]byte, totpSecret)
	_, _ = rand.Read(fresh) // never fails (crypto/rand)
	return o.store.ProposeFactor(ctx, tokenHash(token), fresh)
}

// Enrol makes the proposed factor the operator's, once given is a code of it, and completes the session under a fresh token. It returns the
// recovery codes, which nobody can be shown again. Errors: ErrNoSession, ErrEnrolled, ErrRefused.
func (o *Operators) Enrol(ctx context.Context, token, given string, from From) (fresh string, recovery []string, err error) {
	s, err := o.Session(ctx, token, true)
	if err != nil {
		return "", nil, err
	}
	if s.Factor {
		return "", nil, ErrEnrolled
	}
	charge, err := o.charge(ctx, codeCounter(s.Name))
	if err != nil {
		return "", nil, err
	}
	secret, err := o.propose(ctx, token)
	if err != nil {
		return "", nil, err
	}
	step, ok := matchStep(secret, given, o.cfg.Now())
	if !ok {
		o.tellLock(ctx, s.Name, charge)
		return "", nil, ErrRefused
	}
	recovery, hashes := newRecoveryCodes()
	if err := o.store.SaveFactor(ctx, tokenHash(token), step, hashes, entry(Actor(s.Name), "operator.mfa_enrolled", s.Name, nil)); err != nil {
		return "", nil, err
	}
	fresh, err = o.complete(ctx, s, token, "password and a new factor", from)
	return fresh, recovery, err
}

// Code completes the session of an operator who shows a code, or one of his recovery codes, under a fresh token. Errors: ErrNoSession,
// ErrRefused; ErrNoFactor where he has to enrol first.
func (o *Operators) Code(ctx context.Context, token, given string, from From) (fresh string, err error) {
	s, err := o.Session(ctx, token, true)
	if err != nil {
		return "", err
	}
	if !s.Factor {
		return "", ErrNoFactor
	}
	charge, err := o.charge(ctx, codeCounter(s.Name))
	if err != nil {
		return "", err
	}
	by, err := o.prove(ctx, s, given)
	if errors.Is(err, ErrRefused) {
		o.tellLock(ctx, s.Name, charge)
	}
	if err != nil {
		return "", err
	}
	return o.complete(ctx, s, token, by, from)
}

// prove takes a code, and says of which sort it was.
func (o *Operators) prove(ctx context.Context, s Session, given string) (by string, err error) {
	if hash, ok := recoveryHash(given); ok {
		e := entry(Actor(s.Name), "operator.recovery_code_used", s.Name, nil)
		taken, left, err := o.store.UseRecoveryCode(ctx, s.OperatorID, hash, e)
		if err == nil && !taken {
			err = ErrRefused
		}
		return fmt.Sprintf("password and a recovery code, %d left", left), err
	}
	secret, err := o.store.FactorSecret(ctx, s.OperatorID)
	if err != nil {
		return "", err
	}
	step, ok := matchStep(secret, given, o.cfg.Now())
	if !ok {
		return "", ErrRefused
	}
	taken, err := o.store.UseStep(ctx, s.OperatorID, step)
	if err == nil && !taken {
		err = ErrRefused // somebody has used it
	}
	return "password and code", err
}

func (o *Operators) complete(ctx context.Context, s Session, token, by string, from From) (string, error) {
	old := tokenHash(token)
	return o.begin(ctx, NewSession{
		ID: newID(), OperatorID: s.OperatorID, Complete: true, Replaces: &old, Clears: []string{codeCounter(s.Name)}, From: from,
	}, s.Name, by)
}

// Recovery codes have 80 bits each, and read as xxxx-xxxx-xxxx-xxxx.
const (
	recoveryCodes = 10
	recoveryBytes = 10
	recoveryChars = 16
)

func newRecoveryCodes() (texts []string, hashes [][32]byte) {
	for range recoveryCodes {
		b := make([]byte, recoveryBytes)
		_, _ = rand.Read(b) // never fails (crypto/rand)
		text := strings.ToLower(base32Text(b))
		texts = append(texts, strings.Join([]string{text[:4], text[4:8], text[8:12], text[12:]}, "-"))
		hashes = append(hashes, sha256.Sum256([]byte(text)))
	}
	return texts, hashes
}

// recoveryHash says whether what was given is as long as a recovery code, and of what it would be the hash.
func recoveryHash(given string) (hash [32]byte, ok bool) {
	plain := strings.ToLower(strings.Join(strings.FieldsFunc(given, func(r rune) bool { return r == '-' || r == ' ' }), ""))
	return sha256.Sum256([]byte(plain)), len(plain) == recoveryChars
}
