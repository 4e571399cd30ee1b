package storetest

import (
	"maps"
	"slices"

	"github.com/sealq/sealq/accounts"
)

// The model's part for operators, sweeps and attempts to log in.

func (w *world) setDisabled(id string, disabled bool) {
	u := w.users[id]
	if u.disabled == disabled {
		return
	}
	u.disabled = disabled
	if disabled {
		u.ended = true
		w.forget(id)
		w.change("account.disabled")
	} else {
		w.change("account.enabled")
	}
	w.users[id] = u
}

// lock is by hand: of two the longer stands.
func (w *world) lock(address string, minutes int) {
	c := w.logins[address]
	until := w.now + minutes
	if c.byOperator && c.until > until {
		return
	}
	c.until, c.byOperator = max(c.until, until), true
	w.logins[address] = c
	w.change("account.locked")
}

func (w *world) unlock(address string) {
	if w.locked(address) || w.logins[address].failed > 0 {
		w.change("account.unlocked")
	}
	delete(w.logins, address)
}

func (w *world) setRole(id, role string, has bool) {
	u := w.users[id]
	switch {
	case u.roles[role] == has:
		return
	case has:
		u.roles[role] = true
		w.change("account.role_granted")
	default:
		delete(u.roles, role)
		w.change("account.role_revoked")
	}
}

func (w *world) renewKeys() {
	n := 0
	for address, p := range w.pendings {
		if p.key != "" && p.expires > w.now {
			p.key = ""
			p.generation++
			w.pendings[address] = p
			w.outbox["mail:confirmation"]++
			n++
		}
	}
	for of, t := range w.tokens {
		if t.key != "" && t.expires > w.now {
			t.key = ""
			w.tokens[of] = t
			u := w.users[of.userID]
			u.mails++
			w.users[of.userID] = u
			w.outbox["mail:"+string(of.mail)]++
			n++
		}
	}
	if n > 0 {
		w.change("account.keys_renewed")
	}
}

func (w *world) liftLockouts() {
	lifted := false
	for _, address := range slices.Sorted(maps.Keys(w.logins)) {
		c := w.logins[address]
		if c.until == 0 || c.until > w.now {
			continue
		}
		lifted = true
		delete(w.logins, address)
		id := w.owner(address)
		if id != "" && !w.users[id].disabled && !c.byOperator && w.notice(id, accounts.MailLockoutNotice, true) {
			w.outbox["mail:lockout_notice"]++
		}
	}
	if lifted {
		w.change("account.lockouts_lifted")
	}
}

func (w *world) expire() {
	maps.DeleteFunc(w.pendings, func(_ string, p hPending) bool { return p.expires <= w.now })
	maps.DeleteFunc(w.requests, func(_ asked, r hRequest) bool { return r.expires <= w.now })
}

// charge counts an attempt, and says whether its password may be looked at.
func (c *hCounter) charge(now int) bool {
	allowed := c.until <= now
	if allowed {
		if c.until != 0 || c.last <= now-failWindow {
			c.failed = 0
		}
		c.until, c.byOperator = 0, false
		if c.failed+1 >= guesses {
			c.until = now + lockFor
		}
	}
	c.failed++
	c.last = now
	return allowed
}

// login is an attempt. Its worlds are those that a crash may leave: before it, charged, and at its end. It returns who is in, "" for nobody.
func (w *world) login(address, password, device string) (id string, known bool, worlds []*world) {
	charged := w.copy()
	owner := w.owner(address)
	u := w.users[owner]
	right := owner != "" && !u.disabled && u.password == password
	d, ok := w.devices[device]
	if ok && owner != "" && d.userID == owner && d.expires > w.now && !w.held(address) {
		allowed := d.charge(w.now)
		charged.devices[device] = d
		if !allowed || !right {
			return "", true, []*world{w, charged}
		}
		end := charged.copy()
		end.devices[device] = hDevice{userID: owner, expires: w.now + deviceTTL}
		return owner, true, []*world{w, charged, end}
	}
	c := w.logins[address]
	allowed := c.charge(w.now)
	charged.logins[address] = c
	if !allowed || !right {
		return "", false, []*world{w, charged}
	}
	end := charged.copy()
	delete(end.logins, address)
	return owner, false, []*world{w, charged, end}
}
