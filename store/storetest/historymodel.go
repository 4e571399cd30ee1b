package storetest

import (
	"maps"

	"github.com/sealq/sealq/accounts"
)

// The model of the histories: what DESIGN says of accounts, in maps, without a database. Its clock counts minutes and stands at multiples of
// ten, where every length of time ends in five, so that the moments that a step really takes decide nothing.
const (
	pendingTTL, resetTTL, emailTTL, deviceTTL   = 25, 55, 65, 125
	mailEvery, lockFor, failWindow, operatorFor = 5, 15, 35, 25
	guesses                                     = 3
	noticeTTL                                   = 72 * 60 // longer than any history
)

type hPending struct {
	id, password, key string // key "": not mailed yet
	generation        uint64
	asked, expires    int
}

type hUser struct {
	address, password string
	version           int // of the password's hash
	mails             int // users.mail_generation
	disabled, ended   bool
	roles             map[string]bool
}

type hToken struct {
	newAddress, key string
	asked, expires  int
}

type hCounter struct {
	failed, last, until int // until 0: no lock
	byOperator          bool
}

type hDevice struct {
	hCounter
	userID  string
	expires int
}

type hRequest struct {
	id             string
	asked, expires int
	answered       bool
}

// asked is what is asked for by an address.
type asked struct {
	address string
	mail    accounts.Mail
}

// tokenOf names a user's link.
type tokenOf struct {
	userID string
	mail   accounts.Mail
}

// world is all that the model keeps.
type world struct {
	now       int
	tellOwner bool
	again     accounts.RegisterAgain
	pendings  map[string]hPending // by address
	users     map[string]hUser    // by ID
	tokens    map[tokenOf]hToken
	logins    map[string]hCounter // by address
	devices   map[string]hDevice  // by token
	requests  map[asked]hRequest
	told      map[tokenOf]int // when
	audit     map[string]int  // by action
	outbox    map[string]int  // by kind
}

func newWorld() *world {
	return &world{
		pendings: map[string]hPending{}, users: map[string]hUser{}, tokens: map[tokenOf]hToken{}, logins: map[string]hCounter{},
		devices: map[string]hDevice{}, requests: map[asked]hRequest{}, told: map[tokenOf]int{}, audit: map[string]int{}, outbox: map[string]int{},
		now: 10_000,
	}
}

func (w *world) copy() *world {
	c := *w
	c.pendings, c.users, c.tokens, c.logins = maps.Clone(w.pendings), maps.Clone(w.users), maps.Clone(w.tokens), maps.Clone(w.logins)
	c.devices, c.requests, c.told = maps.Clone(w.devices), maps.Clone(w.requests), maps.Clone(w.told)
	c.audit, c.outbox = maps.Clone(w.audit), maps.Clone(w.outbox)
	for id, u := range c.users {
		u.roles = maps.Clone(u.roles)
		c.users[id] = u
	}
	return &c
}

// owner is the ID of the user who has an address, "" for nobody.
func (w *world) owner(address string) string {
	for id, u := range w.users {
		if u.address == address {
			return id
		}
	}
	return ""
}

func (w *world) locked(address string) bool { return w.logins[address].until > w.now }

func (w *world) held(address string) bool { return w.locked(address) && w.logins[address].byOperator }

func (w *world) standing(address string) accounts.Standing {
	p, pending := w.pendings[address]
	switch id := w.owner(address); {
	case id != "" && w.users[id].disabled:
		return accounts.StandingDisabled
	case id != "" && w.locked(address):
		return accounts.StandingLocked
	case id != "":
		return accounts.StandingActive
	case pending && p.expires > w.now:
		return accounts.StandingPending
	}
	return accounts.StandingNone
}

// change is an audited change with the mails that it makes due.
func (w *world) change(action string, kinds ...string) {
	w.audit[action]++
	for _, kind := range kinds {
		w.outbox[kind]++
	}
}

// notice tells an owner, and says whether he was not told of the same a moment ago.
func (w *world) notice(id string, mail accounts.Mail, throttled bool) bool {
	of := tokenOf{id, mail}
	if at, told := w.told[of]; throttled && told && at > w.now-mailEvery {
		return false
	}
	w.told[of] = w.now
	u := w.users[id]
	u.mails++
	w.users[id] = u
	return true
}

func (w *world) register(address, password, newID, asks string) error {
	if w.owner(address) != "" {
		if !w.tellOwner {
			return accounts.ErrAlreadyActive
		}
		w.ask(asked{address, accounts.MailAccountExists}, noticeTTL, asks)
		return nil
	}
	p, known := w.pendings[address]
	live := known && p.expires > w.now
	switch {
	case live && password == "":
		return w.resend(address)
	case live && w.again == accounts.RefuseWhilePending:
		return accounts.ErrPending
	case live && p.asked > w.now-mailEvery:
		return accounts.ErrThrottled
	case !known:
		p.id = newID
	}
	w.pendings[address] = hPending{id: p.id, password: password, generation: p.generation + 1, asked: w.now, expires: w.now + pendingTTL}
	w.change("account.registered", "mail:confirmation")
	return nil
}

func (w *world) resend(address string) error {
	p, known := w.pendings[address]
	switch {
	case !known || p.expires <= w.now:
		return accounts.ErrNotPending
	case p.asked > w.now-mailEvery:
		return accounts.ErrThrottled
	}
	p.asked = w.now
	w.pendings[address] = p
	w.change("account.confirmation_resent", "mail:confirmation")
	return nil
}

// ask records a request by address. One that was not answered yet keeps its ID.
func (w *world) ask(by asked, ttl int, id string) {
	r, known := w.requests[by]
	switch {
	case known && r.asked > w.now-mailEvery:
		return
	case known && !r.answered && r.expires > w.now:
		id = r.id
	}
	w.requests[by] = hRequest{id: id, asked: w.now, expires: w.now + ttl}
	w.change("", "users:answer")
}

func (w *world) answer(requestID string) {
	for by, r := range w.requests {
		if r.id != requestID || r.answered || r.expires <= w.now {
			continue
		}
		r.answered = true
		w.requests[by] = r
		id := w.owner(by.address)
		switch {
		case id == "" || w.users[id].disabled:
		case by.mail == accounts.MailPasswordReset:
			w.link(tokenOf{id, by.mail}, "", resetTTL)
			w.change("account.reset_asked", "mail:password_reset")
		case w.notice(id, by.mail, true):
			w.change("account.registered_again", "mail:account_exists")
		}
	}
}

// link is mailed once more, or written anew.
func (w *world) link(of tokenOf, newAddress string, ttl int) {
	t, known := w.tokens[of]
	if known && 2*(t.expires-w.now) >= ttl && t.newAddress == newAddress {
		t.asked = w.now
	} else {
		u := w.users[of.userID]
		u.mails++
		w.users[of.userID] = u
		t = hToken{newAddress: newAddress, asked: w.now, expires: w.now + ttl}
	}
	w.tokens[of] = t
}

// holder is whose live link has the key.
func (w *world) holder(mail accounts.Mail, key string) string {
	for of, t := range w.tokens {
		if of.mail == mail && t.key == key && t.expires > w.now && !w.users[of.userID].disabled {
			return of.userID
		}
	}
	return ""
}

func (w *world) resetPassword(key, password string) error {
	id := w.holder(accounts.MailPasswordReset, key)
	if id == "" {
		return accounts.ErrUnknownToken
	}
	w.setPassword(id, password, "account.password_reset")
	return nil
}

// proof is what Prove gives, as the model sees it.
type proof struct {
	id, address string
	version     int
	real        accounts.Proof
}

func (w *world) worth(p proof) bool {
	u, known := w.users[p.id]
	return known && !u.disabled && u.version == p.version
}

func (w *world) changePassword(p proof, password string) error {
	if !w.worth(p) {
		return accounts.ErrRefused
	}
	w.setPassword(p.id, password, "account.password_changed")
	return nil
}

func (w *world) setPassword(id, password, action string) {
	u := w.users[id]
	u.password, u.ended = password, true
	u.version++
	w.users[id] = u
	w.forget(id)
	if !w.logins[u.address].byOperator {
		delete(w.logins, u.address)
	}
	w.notice(id, accounts.MailPasswordChanged, false)
	w.change(action, "mail:password_changed")
}

// forget ends a user's links and devices.
func (w *world) forget(id string) {
	maps.DeleteFunc(w.tokens, func(of tokenOf, _ hToken) bool { return of.userID == id })
	maps.DeleteFunc(w.devices, func(_ string, d hDevice) bool { return d.userID == id })
}

func (w *world) requestEmailChange(p proof, address string) error {
	of := tokenOf{p.id, accounts.MailEmailChange}
	t, known := w.tokens[of]
	switch {
	case address == p.address:
		return accounts.ErrInvalidEmail
	case !w.worth(p) || w.users[p.id].address != p.address:
		return accounts.ErrRefused
	case known && t.asked > w.now-mailEvery:
		return accounts.ErrThrottled
	}
	w.link(of, address, emailTTL)
	w.notice(p.id, accounts.MailEmailChange, false)
	w.change("account.email_change_asked", "mail:email_change", "mail:email_change")
	return nil
}

func (w *world) confirmEmailChange(key string) error {
	id := w.holder(accounts.MailEmailChange, key)
	if id == "" || w.held(w.users[id].address) {
		return accounts.ErrUnknownToken
	}
	address := w.tokens[tokenOf{id, accounts.MailEmailChange}].newAddress
	if other := w.owner(address); other != "" && other != id {
		return accounts.ErrAlreadyActive
	}
	u := w.users[id]
	u.address = address
	w.users[id] = u
	maps.DeleteFunc(w.tokens, func(of tokenOf, _ hToken) bool { return of.userID == id })
	w.notice(id, accounts.MailEmailChange, false)
	w.change("account.email_changed", "mail:email_change")
	return nil
}
