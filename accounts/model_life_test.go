package accounts_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
)

// The model's part that keeps what happens to a user after his activation.

type tokenID struct {
	userID  string
	purpose accounts.Mail
}

type tokenRow struct {
	accounts.NewToken
	userID     string
	generation uint64
	askedAt    time.Time
	expiresAt  time.Time
	kid        string
	keyHash    *[32]byte
}

type requestRow struct {
	accounts.NewRequest
	askedAt, expiresAt time.Time
	answered           bool
}

type deviceRow struct {
	loginRow
	userID    string
	expiresAt time.Time
}

type noticeRow struct {
	accounts.NewNotice
	toldAt time.Time
}

// accountMail is a mail that was asked for.
type accountMail struct {
	Mail       string
	UserID     string
	Generation uint64
}

// save lets a rollback restore all that the model keeps of users. The model is locked.
func (tx *modelTx) save() {
	m := tx.m
	users, tokens, logins := map[string]*accounts.Credentials{}, map[tokenID]*tokenRow{}, map[string]*loginRow{}
	for norm, u := range m.users {
		users[norm] = new(*u)
	}
	for id, t := range m.tokens {
		tokens[id] = new(*t)
	}
	for norm, l := range m.logins {
		logins[norm] = new(*l)
	}
	roles, devices := maps.Clone(m.roles), map[[32]byte]*deviceRow{}
	for hash, d := range m.devices {
		devices[hash] = new(*d)
	}
	requests := map[string]*requestRow{}
	for norm, r := range m.requests {
		requests[norm] = new(*r)
	}
	numbers, notices, changes, told := maps.Clone(m.numbers), slices.Clone(m.notices), slices.Clone(m.changes), slices.Clone(m.told)
	tx.undo = append(tx.undo, func() {
		m.roles, m.devices, m.requests = roles, devices, requests
		m.users, m.tokens, m.logins, m.numbers, m.notices, m.changes, m.told = users, tokens, logins, numbers, notices, changes, told
	})
}

// byID finds a user and his normalised address.
func (m *model) byID(id string) (norm string, u *accounts.Credentials) {
	for norm, u := range m.users {
		if u.ID == id {
			return norm, u
		}
	}
	return "", nil
}

func (m *model) UserByID(_ context.Context, id string) (accounts.Owner, error) {
	leave, err := m.enter()
	defer leave()
	norm, u := m.byID(id)
	switch {
	case err != nil:
		return accounts.Owner{}, err
	case u == nil:
		return accounts.Owner{}, accounts.ErrNoSuchUser
	}
	return accounts.Owner{User: u.User, EmailNorm: norm}, nil
}

func (m *model) SaveRequest(_ context.Context, tx *modelTx, r accounts.NewRequest) (accounts.SavedRequest, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.SavedRequest{}, err
	}
	if last := m.requests[r.EmailNorm]; last != nil && last.askedAt.Add(r.NotWithin).After(m.now) {
		return accounts.SavedRequest{}, accounts.ErrThrottled
	}
	tx.save()
	m.requests[r.EmailNorm] = &requestRow{NewRequest: r, askedAt: m.now, expiresAt: m.now.Add(r.TTL)}
	return accounts.SavedRequest{ID: r.ID, ExpiresAt: m.now.Add(r.TTL)}, nil
}

func (m *model) TakeRequest(_ context.Context, tx *modelTx, id string) (accounts.Request, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.Request{}, err
	}
	for _, r := range m.requests {
		if r.ID == id && !r.answered && r.expiresAt.After(m.now) {
			tx.save()
			r.answered = true
			return accounts.Request{EmailNorm: r.EmailNorm, Mail: r.Mail}, nil
		}
	}
	return accounts.Request{}, accounts.ErrNoSuchRequest
}

func (m *model) RequestWanted(_ context.Context, tx *modelTx, id string, _ time.Time) error {
	leave, err := m.enter()
	defer leave()
	if err == nil && m.failMail != nil {
		return m.failMail
	}
	before := len(m.asked)
	m.asked = append(m.asked, id)
	tx.undo = append(tx.undo, func() { m.asked = m.asked[:before] })
	return err
}

func (m *model) SaveToken(_ context.Context, tx *modelTx, t accounts.NewToken) (accounts.SavedToken, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.SavedToken{}, err
	}
	u := m.users[t.EmailNorm]
	if u == nil || u.Disabled || t.UserID != "" && t.UserID != u.ID || !t.Verified.IsZero() && t.Verified != u.PasswordHash {
		return accounts.SavedToken{}, accounts.ErrNoSuchUser
	}
	id := tokenID{u.ID, t.Purpose}
	row := m.tokens[id]
	if row != nil && row.askedAt.Add(t.NotWithin).After(m.now) {
		return accounts.SavedToken{}, &accounts.ThrottledError{RetryAt: row.askedAt.Add(t.NotWithin)}
	}
	tx.save()
	if row != nil && !row.expiresAt.Before(m.now.Add(t.TTL/2)) && row.NewEmail == t.NewEmail {
		row.askedAt = m.now
	} else {
		m.numbers[u.ID]++
		row = &tokenRow{NewToken: t, userID: u.ID, generation: m.numbers[u.ID], askedAt: m.now, expiresAt: m.now.Add(t.TTL)}
		m.tokens[id] = row
	}
	return accounts.SavedToken{UserID: u.ID, Purpose: t.Purpose, Generation: row.generation, ExpiresAt: row.expiresAt}, nil
}

// token finds a live one. The model is locked.
func (m *model) token(purpose accounts.Mail, keyHash [32]byte) (*tokenRow, string, *accounts.Credentials) {
	for id, row := range m.tokens {
		if id.purpose != purpose || row.keyHash == nil || *row.keyHash != keyHash || !row.expiresAt.After(m.now) {
			continue
		}
		if norm, u := m.byID(id.userID); u != nil && !u.Disabled {
			return row, norm, u
		}
	}
	return nil, "", nil
}

func (m *model) TokenUser(ctx context.Context, _ *modelTx, purpose accounts.Mail, keyHash [32]byte) (accounts.Owner, error) {
	return m.LinkUser(ctx, purpose, keyHash)
}

func (m *model) LinkUser(_ context.Context, purpose accounts.Mail, keyHash [32]byte) (accounts.Owner, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.Owner{}, err
	}
	_, norm, u := m.token(purpose, keyHash)
	if u == nil {
		return accounts.Owner{}, accounts.ErrUnknownToken
	}
	return accounts.Owner{User: u.User, EmailNorm: norm}, nil
}

func (m *model) RenewTokens(_ context.Context, tx *modelTx, kid string, limit int, nonce func() []byte) ([]accounts.SavedToken, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	tx.save()
	var due []*tokenRow
	for _, row := range m.tokens {
		if row.kid == kid && row.keyHash != nil && row.expiresAt.After(m.now) {
			due = append(due, row)
		}
	}
	slices.SortFunc(due, func(a, b *tokenRow) int {
		return cmp.Or(a.expiresAt.Compare(b.expiresAt), cmp.Compare(a.userID, b.userID))
	})
	var renewed []accounts.SavedToken
	for _, row := range due[:min(limit, len(due))] {
		m.numbers[row.userID]++
		row.generation, row.Nonce, row.kid, row.keyHash = m.numbers[row.userID], nonce(), "", nil
		renewed = append(renewed, accounts.SavedToken{UserID: row.userID, Purpose: row.Purpose, Generation: row.generation, ExpiresAt: row.expiresAt})
	}
	return renewed, nil
}

// forget is what follows a new password. The model is locked.
func (m *model) forget(norm string, u *accounts.Credentials, hash accounts.PasswordHash) accounts.Owner {
	u.PasswordHash, u.SessionsValidAfter = hash, m.now
	maps.DeleteFunc(m.tokens, func(id tokenID, _ *tokenRow) bool { return id.userID == u.ID })
	maps.DeleteFunc(m.devices, func(_ [32]byte, d *deviceRow) bool { return d.userID == u.ID })
	if row := m.logins[norm]; row != nil && !row.byOperator {
		delete(m.logins, norm)
	}
	return accounts.Owner{User: u.User, EmailNorm: norm}
}

func (m *model) ResetPassword(_ context.Context, tx *modelTx, r accounts.PasswordReset) (accounts.Owner, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.Owner{}, err
	}
	tx.save()
	_, norm, u := m.token(accounts.MailPasswordReset, r.KeyHash)
	if u == nil {
		return accounts.Owner{}, accounts.ErrUnknownToken
	}
	return m.forget(norm, u, r.PasswordHash), nil
}

func (m *model) ChangePassword(_ context.Context, tx *modelTx, c accounts.PasswordChange) (accounts.Owner, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.Owner{}, err
	}
	tx.save()
	norm, u := m.byID(c.UserID)
	if u == nil || u.Disabled || u.PasswordHash != c.Verified {
		return accounts.Owner{}, accounts.ErrRefused
	}
	return m.forget(norm, u, c.PasswordHash), nil
}

func (m *model) ChangeEmail(_ context.Context, tx *modelTx, keyHash [32]byte) (accounts.EmailChange, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.EmailChange{}, err
	}
	tx.save()
	row, norm, u := m.token(accounts.MailEmailChange, keyHash)
	if u == nil {
		return accounts.EmailChange{}, accounts.ErrUnknownToken
	}
	if l := m.logins[norm]; l != nil && l.byOperator && l.lockedUntil.After(m.now) {
		return accounts.EmailChange{}, accounts.ErrUnknownToken
	}
	if other := m.users[row.NewEmailNorm]; other != nil && other != u {
		return accounts.EmailChange{}, accounts.ErrAlreadyActive
	}
	change := accounts.EmailChange{OldEmail: u.Email}
	delete(m.users, norm)
	u.Email = row.NewEmail
	m.users[row.NewEmailNorm] = u
	maps.DeleteFunc(m.tokens, func(id tokenID, _ *tokenRow) bool { return id.userID == u.ID })
	change.Owner = accounts.Owner{User: u.User, EmailNorm: row.NewEmailNorm}
	return change, nil
}

func (m *model) SaveNotice(_ context.Context, tx *modelTx, n accounts.NewNotice) (accounts.SavedToken, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.SavedToken{}, err
	}
	if n.UserID == "" && m.users[n.EmailNorm] != nil && !m.users[n.EmailNorm].Disabled {
		n.UserID, n.Email = m.users[n.EmailNorm].ID, m.users[n.EmailNorm].Email
	}
	if _, u := m.byID(n.UserID); u == nil {
		return accounts.SavedToken{}, accounts.ErrNoSuchUser
	}
	for _, row := range m.notices {
		if row.UserID == n.UserID && row.Mail == n.Mail && row.toldAt.Add(n.NotWithin).After(m.now) {
			return accounts.SavedToken{}, &accounts.ThrottledError{RetryAt: row.toldAt.Add(n.NotWithin)}
		}
	}
	tx.save()
	m.numbers[n.UserID]++
	m.notices = append(m.notices, noticeRow{NewNotice: n, toldAt: m.now})
	return accounts.SavedToken{UserID: n.UserID, Purpose: n.Mail, Generation: m.numbers[n.UserID], ExpiresAt: m.now.Add(n.TTL)}, nil
}

func (m *model) RecordChange(_ context.Context, tx *modelTx, c accounts.Change) error {
	leave, err := m.enter()
	defer leave()
	tx.save()
	m.changes = append(m.changes, c)
	return err
}

func (m *model) AccountMailWanted(_ context.Context, tx *modelTx, mail, userID string, generation uint64, _ time.Time) error {
	leave, err := m.enter()
	defer leave()
	if err == nil && m.failMail != nil {
		return m.failMail
	}
	tx.save()
	m.told = append(m.told, accountMail{Mail: mail, UserID: userID, Generation: generation})
	return err
}

// tokenKey plays the worker: it writes the hash of a key for the user's link, and returns the key.
func (m *model) tokenKey(t testing.TB, userID string, purpose accounts.Mail) string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.tokens[tokenID{userID, purpose}]
	if row == nil {
		t.Fatalf("no link of %s to mail a key for", purpose)
	}
	hash := accounts.KeyHash(fmt.Sprintf("%s %s %d %x", userID, purpose, row.generation, row.Nonce))
	key := base64.RawURLEncoding.EncodeToString(hash[:])
	row.kid, row.keyHash = signingKID, new(accounts.KeyHash(key))
	return key
}

// mailed are the names of the mails to owners that were asked for.
func (m *model) mailed() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, mail := range m.told {
		names = append(names, mail.Mail)
	}
	return names
}

// actions are what the record has.
func (m *model) actions() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var actions []string
	for _, c := range m.changes {
		actions = append(actions, c.Action)
	}
	return actions
}
