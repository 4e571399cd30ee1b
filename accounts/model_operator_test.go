package accounts_test

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sealq/sealq/accounts"
)

// The model's part for operators, devices and sweeps.

func (m *model) ResendPending(_ context.Context, tx *modelTx, norm string, notWithin time.Duration) (accounts.SavedPending, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return accounts.SavedPending{}, err
	}
	row := m.pendings[norm]
	if row == nil || !row.expiresAt.After(m.now) {
		return accounts.SavedPending{}, accounts.ErrNotPending
	}
	if retryAt := row.askedAt.Add(notWithin); retryAt.After(m.now) {
		return accounts.SavedPending{}, &accounts.ThrottledError{RetryAt: retryAt}
	}
	old := *row
	tx.undo = append(tx.undo, func() { *row = old })
	row.askedAt, row.resends = m.now, row.resends+1
	return accounts.SavedPending{ID: row.ID, Generation: row.generation, ExpiresAt: row.expiresAt}, nil
}

func (m *model) SetDisabled(_ context.Context, tx *modelTx, id string, disabled bool) (bool, error) {
	leave, err := m.enter()
	defer leave()
	_, u := m.byID(id)
	if err == nil && u == nil {
		err = accounts.ErrNoSuchUser
	}
	if err != nil || u.Disabled == disabled {
		return false, err
	}
	tx.save()
	if u.Disabled = disabled; disabled {
		u.SessionsValidAfter = m.now
		maps.DeleteFunc(m.tokens, func(id tokenID, _ *tokenRow) bool { return id.userID == u.ID })
		maps.DeleteFunc(m.devices, func(_ [32]byte, d *deviceRow) bool { return d.userID == u.ID })
	}
	return true, nil
}

func (m *model) SetLanguage(_ context.Context, tx *modelTx, id, language string) (bool, error) {
	leave, err := m.enter()
	defer leave()
	_, u := m.byID(id)
	if err == nil && u == nil {
		err = accounts.ErrNoSuchUser
	}
	if err != nil || m.speaks[id] == language {
		return false, err
	}
	old := m.speaks[id]
	tx.undo = append(tx.undo, func() { m.speaks[id] = old })
	m.speaks[id] = language
	return true, nil
}

func (m *model) SetLock(_ context.Context, tx *modelTx, norm string, d time.Duration) (bool, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return false, err
	}
	tx.save()
	row := m.logins[norm]
	if d == 0 {
		delete(m.logins, norm)
		return row != nil && row.lockedUntil != nil && row.lockedUntil.After(m.now), nil
	}
	if row == nil {
		row = &loginRow{}
		m.logins[norm] = row
	}
	until := m.now.Add(d)
	if row.lockedUntil != nil && row.lockedUntil.After(until) {
		if row.byOperator {
			return false, nil
		}
		until = *row.lockedUntil
	}
	row.lockedUntil, row.byOperator = &until, true
	return true, nil
}

func (m *model) UserOf(_ context.Context, _ *modelTx, norm string) (string, error) {
	leave, err := m.enter()
	defer leave()
	if u := m.users[norm]; u != nil {
		return u.ID, err
	}
	return "", err
}

func (m *model) ChargeDevice(_ context.Context, norm string, hash [32]byte, l accounts.Lockout) (accounts.Charge, bool, error) {
	leave, err := m.enter()
	defer leave()
	d, u, lock := m.devices[hash], m.users[norm], m.logins[norm]
	held := lock != nil && lock.byOperator && lock.lockedUntil.After(m.now)
	if err != nil || d == nil || u == nil || d.userID != u.ID || !d.expiresAt.After(m.now) || held {
		return accounts.Charge{}, false, err
	}
	c := d.charge(m.now, l)
	c.User = new(*u)
	return c, true, nil
}

func (m *model) RecordDevice(_ context.Context, s accounts.Login, hash [32]byte, ttl time.Duration) (bool, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil || !m.record(s) {
		return false, err
	}
	if d := m.devices[hash]; d != nil {
		*d = deviceRow{userID: d.userID, expiresAt: m.now.Add(ttl)}
	}
	return true, nil
}

func (m *model) SaveDevice(_ context.Context, d accounts.NewDevice) (bool, error) {
	if m.onSaveDevice != nil {
		m.onSaveDevice()
	}
	leave, err := m.enter()
	defer leave()
	if _, u := m.byID(d.UserID); u == nil || u.Disabled || u.PasswordHash != d.Verified {
		return false, err
	}
	m.devices[d.TokenHash] = &deviceRow{userID: d.UserID, expiresAt: m.now.Add(d.TTL)}
	return true, err
}

func (m *model) LiftLockouts(_ context.Context, tx *modelTx, limit int, owners bool) ([]accounts.Lifted, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	tx.save()
	var lifted []accounts.Lifted
	for _, norm := range slices.Sorted(maps.Keys(m.logins)) {
		row := m.logins[norm]
		if row.lockedUntil == nil || row.lockedUntil.After(m.now) || len(lifted) == limit {
			continue
		}
		l := accounts.Lifted{EmailNorm: norm, ByOperator: row.byOperator}
		if u := m.users[norm]; owners && u != nil && !u.Disabled {
			l.UserID = u.ID
		}
		delete(m.logins, norm)
		lifted = append(lifted, l)
	}
	return lifted, nil
}

func (m *model) ForgetAttempts(_ context.Context, tx *modelTx, age time.Duration, limit int) (int, error) {
	leave, err := m.enter()
	defer leave()
	if err != nil {
		return 0, err
	}
	tx.save()
	n := 0
	for _, norm := range slices.Sorted(maps.Keys(m.logins)) {
		if row := m.logins[norm]; row.lockedUntil == nil && !row.lastFailed.After(m.now.Add(-age)) && n < limit {
			delete(m.logins, norm)
			n++
		}
	}
	return n, nil
}

func (m *model) SetRole(_ context.Context, tx *modelTx, id, role string, has bool) (bool, error) {
	leave, err := m.enter()
	defer leave()
	if _, u := m.byID(id); err == nil && u == nil {
		err = accounts.ErrNoSuchUser
	}
	if err != nil || slices.Contains(m.roles[id], role) == has {
		return false, err
	}
	tx.save()
	others := slices.DeleteFunc(slices.Clone(m.roles[id]), func(r string) bool { return r == role })
	if has {
		others = append(others, role)
	}
	slices.Sort(others)
	m.roles[id] = others
	return true, nil
}

func (m *model) Roles(_ context.Context, id string) ([]string, bool, error) {
	leave, err := m.enter()
	defer leave()
	_, u := m.byID(id)
	switch {
	case err != nil:
		return nil, false, err
	case u == nil:
		return nil, false, accounts.ErrNoSuchUser
	}
	return slices.Clone(m.roles[id]), u.Disabled, nil
}
