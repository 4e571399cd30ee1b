package accounts_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
)

// model is Store and Notifier as their comments describe them, in maps. Its clock is the database's: only Advance moves it.
type model struct {
	mu       sync.Mutex
	now      time.Time
	users    map[string]*accounts.Credentials
	pendings map[string]*pendingRow
	logins   map[string]*loginRow
	tokens   map[tokenID]*tokenRow
	requests map[string]*requestRow // by address
	notices  []noticeRow
	roles    map[string][]string
	devices  map[[32]byte]*deviceRow
	numbers  map[string]uint64 // users.mail_generation
	speaks   map[string]string // users.language
	changes  []accounts.Change
	mails    []wanted
	told     []accountMail
	asked    []string // IDs of requests that are to be answered
	charges  int
	touched  int // calls of any method
	failWith error
	failMail error // of ConfirmationWanted alone

	onRecord     func() // runs before RecordLogin looks
	onSaveDevice func() // likewise, of SaveDevice
	onRefused    func() // runs after ChargeAttempt found a lock
}

type pendingRow struct {
	accounts.NewPending
	generation uint64
	askedAt    time.Time
	expiresAt  time.Time
	kid        string
	keyHash    *[32]byte
	sentAt     *time.Time
	resends    int
}

type loginRow struct {
	failed      int
	lastFailed  time.Time
	lockedUntil *time.Time
	byOperator  bool
}

type wanted struct {
	PendingID  string
	Generation uint64
	ExpiresAt  time.Time
}

// modelTx undoes what was done in it.
type modelTx struct {
	m    *model
	undo []func()
}

func (m *model) begin() *modelTx { return &modelTx{m: m} }

func (tx *modelTx) rollback() {
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	for _, undo := range slices.Backward(tx.undo) {
		undo()
	}
}

func newModel() *model {
	return &model{
		now:      time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC),
		users:    map[string]*accounts.Credentials{},
		pendings: map[string]*pendingRow{},
		logins:   map[string]*loginRow{},
		tokens:   map[tokenID]*tokenRow{},
		requests: map[string]*requestRow{},
		numbers:  map[string]uint64{},
		speaks:   map[string]string{},
		roles:    map[string][]string{},
		devices:  map[[32]byte]*deviceRow{},
	}
}

func (m *model) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

func (m *model) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// enter locks the model and counts the call.
func (m *model) enter() (leave func(), err error) {
	m.mu.Lock()
	m.touched++
	return m.mu.Unlock, m.failWith
}

func (m *model) SavePending(_ context.Context, tx *modelTx, p accounts.NewPending) (accounts.SavedPending, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.SavedPending{}, err
	}
	if m.users[p.EmailNorm] != nil {
		return accounts.SavedPending{}, accounts.ErrAlreadyActive
	}
	old := m.pendings[p.EmailNorm]
	row := &pendingRow{NewPending: p, generation: 1, askedAt: m.now, expiresAt: m.now.Add(p.TTL)}
	if old != nil {
		live := old.expiresAt.After(m.now)
		if live && !p.ReplaceLive {
			return accounts.SavedPending{}, &accounts.PendingError{ExpiresAt: old.expiresAt}
		}
		if retryAt := old.askedAt.Add(p.NotWithin); live && retryAt.After(m.now) {
			return accounts.SavedPending{}, &accounts.ThrottledError{RetryAt: retryAt}
		}
		row.ID, row.generation = old.ID, old.generation+1
		if live {
			row.resends = old.resends + 1
		}
	}
	m.pendings[p.EmailNorm] = row
	tx.undo = append(tx.undo, func() {
		delete(m.pendings, p.EmailNorm)
		if old != nil {
			m.pendings[p.EmailNorm] = old
		}
	})
	return accounts.SavedPending{ID: row.ID, Generation: row.generation, ExpiresAt: row.expiresAt}, nil
}

// pending finds the registration that a key activates. The model is locked.
func (m *model) pending(a accounts.Activation) (norm string, row *pendingRow) {
	for norm, row := range m.pendings {
		if row.keyHash != nil && *row.keyHash == a.KeyHash && row.expiresAt.After(m.now) && (!a.RequireSent || row.sentAt != nil) {
			return norm, row
		}
	}
	return "", nil
}

func (m *model) PendingUser(ctx context.Context, _ *modelTx, a accounts.Activation) (accounts.PendingUser, error) {
	return m.RegistrationOf(ctx, a)
}

func (m *model) RegistrationOf(_ context.Context, a accounts.Activation) (accounts.PendingUser, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.PendingUser{}, err
	}
	norm, row := m.pending(a)
	if row == nil {
		return accounts.PendingUser{}, accounts.ErrUnknownKey
	}
	return accounts.PendingUser{ID: row.ID, Email: row.Email, EmailNorm: norm, PasswordHash: row.PasswordHash}, nil
}

func (m *model) ActivatePending(_ context.Context, tx *modelTx, a accounts.Activation) (accounts.User, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.User{}, err
	}
	norm, row := m.pending(a)
	switch {
	case row == nil:
		return accounts.User{}, accounts.ErrUnknownKey
	case a.PasswordHash.IsZero() && row.PasswordHash.IsZero():
		return accounts.User{}, accounts.ErrNoPassword
	}
	delete(m.pendings, norm)
	if m.users[norm] != nil {
		return accounts.User{}, accounts.ErrAlreadyActive
	}
	u := &accounts.Credentials{User: accounts.User{ID: row.ID, Email: row.Email}, PasswordHash: row.PasswordHash}
	if !a.PasswordHash.IsZero() {
		u.PasswordHash = a.PasswordHash
	}
	m.users[norm], m.speaks[u.ID] = u, row.Language
	tx.undo = append(tx.undo, func() { delete(m.users, norm); m.pendings[norm] = row })
	return u.User, nil
}

func (m *model) RenewPending(_ context.Context, tx *modelTx, kid string, limit int, nonce func() []byte) ([]accounts.SavedPending, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	var due []*pendingRow
	for _, row := range m.pendings {
		if row.kid == kid && row.keyHash != nil && row.expiresAt.After(m.now) {
			due = append(due, row)
		}
	}
	slices.SortFunc(due, func(a, b *pendingRow) int { return cmp.Or(a.expiresAt.Compare(b.expiresAt), cmp.Compare(a.ID, b.ID)) })
	var renewed []accounts.SavedPending
	for _, row := range due[:min(limit, len(due))] {
		old := *row
		tx.undo = append(tx.undo, func() { *row = old })
		row.generation, row.Nonce, row.kid, row.keyHash, row.sentAt, row.resends = old.generation+1, nonce(), "", nil, nil, old.resends+1
		renewed = append(renewed, accounts.SavedPending{ID: row.ID, Generation: row.generation, ExpiresAt: row.expiresAt})
	}
	return renewed, nil
}

func (m *model) ChargeAttempt(_ context.Context, norm string, l accounts.Lockout) (accounts.Charge, error) {
	c, err := m.charge(norm, l)
	if err == nil && !c.Allowed && m.onRefused != nil {
		m.onRefused()
	}
	return c, err
}

func (m *model) charge(norm string, l accounts.Lockout) (accounts.Charge, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.Charge{}, err
	}
	m.charges++
	row := m.logins[norm]
	if row == nil {
		row = &loginRow{}
		m.logins[norm] = row
	}
	c := row.charge(m.now, l)
	if u := m.users[norm]; u != nil {
		c.User = new(*u)
	}
	return c, nil
}

// charge counts one attempt.
func (row *loginRow) charge(now time.Time, l accounts.Lockout) accounts.Charge {
	c := accounts.Charge{Allowed: row.lockedUntil == nil || !row.lockedUntil.After(now)}
	if c.Allowed {
		if row.lockedUntil != nil || l.Window > 0 && !row.lastFailed.After(now.Add(-l.Window)) {
			row.failed = 0
		}
		row.lockedUntil, row.byOperator = nil, false
		if row.failed+1 >= l.Limit {
			row.lockedUntil = new(now.Add(l.For))
		}
	}
	row.failed++
	row.lastFailed = now
	if row.lockedUntil != nil {
		c.LockedFor = row.lockedUntil.Sub(now)
	}
	return c
}

func (m *model) RecordLogin(_ context.Context, s accounts.Login) (bool, error) {
	if m.onRecord != nil {
		m.onRecord()
	}
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return false, err
	}
	if !m.record(s) {
		return false, nil
	}
	delete(m.logins, s.EmailNorm)
	return true, nil
}

// record upgrades the hash of a login that is current. The model is locked.
func (m *model) record(s accounts.Login) bool {
	u := m.users[s.EmailNorm]
	if u == nil || u.ID != s.UserID || u.Disabled || u.PasswordHash != s.Verified {
		return false
	}
	if row := m.logins[s.EmailNorm]; row != nil && row.byOperator && row.lockedUntil.After(m.now) {
		return false
	}
	if !s.Upgraded.IsZero() {
		u.PasswordHash = s.Upgraded
	}
	return true
}

func (m *model) AccountState(_ context.Context, norm string) (accounts.State, error) {
	leave, err := m.enter()
	defer leave()
	var s accounts.State
	if u := m.users[norm]; u != nil {
		s.User, s.Language = new(*u), m.speaks[u.ID]
	}
	if p := m.pendings[norm]; p != nil {
		s.Pending = &accounts.PendingState{
			ID: p.ID, Email: p.Email, Generation: p.generation, ExpiresAt: p.expiresAt, Expired: !p.expiresAt.After(m.now), SentAt: p.sentAt,
		}
		if s.User == nil {
			s.Language = p.Language
		}
	}
	if l := m.logins[norm]; l != nil {
		s.FailedAttempts, s.LockedUntil = l.failed, l.lockedUntil
		if !l.lastFailed.IsZero() {
			s.LastFailedAt = new(l.lastFailed)
		}
		s.Locked = l.lockedUntil != nil && l.lockedUntil.After(m.now)
		s.ByOperator = s.Locked && l.byOperator
	}
	return s, err
}

func (m *model) ConfirmationWanted(_ context.Context, tx *modelTx, id string, generation uint64, expiresAt time.Time) error {
	leave, err := m.enter()
	defer leave()
	if err == nil && m.failMail != nil {
		return m.failMail
	}
	before := len(m.mails)
	m.mails = append(m.mails, wanted{PendingID: id, Generation: generation, ExpiresAt: expiresAt})
	tx.undo = append(tx.undo, func() { m.mails = m.mails[:before] })
	return err
}

// signingKID is the signing key that mailKey derives keys from.
const signingKID = "f7e2c87f"

// mailKey plays the worker: it writes the hash of a key for the registration of norm, and returns the key.
func (m *model) mailKey(t *testing.T, norm string) string {
	t.Helper()
	key := m.confirmation(norm)
	if key == "" {
		t.Fatalf("no registration of %s to mail a key for", norm)
	}
	return key
}

// confirmation is mailKey, "" where there is none.
func (m *model) confirmation(norm string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.pendings[norm]
	if row == nil {
		return ""
	}
	hash := accounts.KeyHash(fmt.Sprintf("%s %d %x", row.ID, row.generation, row.Nonce))
	key := base64.RawURLEncoding.EncodeToString(hash[:])
	row.kid, row.keyHash = signingKID, new(accounts.KeyHash(key))
	return key
}

// login returns a copy of goodEmail's counter.
func (m *model) login() loginRow {
	m.mu.Lock()
	defer m.mu.Unlock()
	if row := m.logins[goodEmail]; row != nil {
		return *row
	}
	return loginRow{}
}
