package storetest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

// The steps of the histories.

func (h *history[Tx]) address(t *rapid.T) string {
	return rapid.SampledFrom(historyAddresses()).Draw(t, "address")
}

func (h *history[Tx]) password(t *rapid.T) string {
	return rapid.SampledFrom(historyPasswords()).Draw(t, "password")
}

// of draws one of those that there are, else the step is another one.
func of[T any](t *rapid.T, name string, all []T) T {
	if len(all) == 0 {
		t.Skip("there is no " + name)
	}
	return rapid.SampledFrom(all).Draw(t, name)
}

// newKey is a key as a worker would derive it.
func newKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(key)
}

func (h *history[Tx]) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){"": func(*rapid.T) { h.check() }}
	for name, draw := range h.operations() {
		actions[name] = func(t *rapid.T) { h.inTx(draw(t)) }
	}
	actions["two in one transaction"] = func(t *rapid.T) {
		h.inTx(h.register(t), h.requestReset(t))
	}
	actions["a reset that is asked for, answered, mailed and used"] = func(t *rapid.T) {
		id := of(t, "user", h.userIDs())
		h.inTx(h.requestResetOf(h.w.users[id].address))
		if len(h.asked) > 0 {
			h.inTx(h.answer(h.asked[len(h.asked)-1]))
		}
		h.mail()
		if keys := h.links[accounts.MailPasswordReset]; len(keys) > 0 {
			h.inTx(h.resetPassword(keys[len(keys)-1], h.password(t)))
		}
	}
	actions["a change of address that is asked for, mailed and confirmed"] = func(t *rapid.T) {
		h.inTx(h.requestEmailChange(of(t, "proof", h.proofs), h.address(t)))
		h.mail()
		if keys := h.links[accounts.MailEmailChange]; len(keys) > 0 {
			h.inTx(h.confirmEmailChange(keys[len(keys)-1]))
		}
	}
	actions["a registration that is confirmed"] = func(t *rapid.T) {
		h.inTx(h.register(t))
		h.mail()
		if len(h.keys) > 0 {
			h.inTx(h.activateAnyhow(t, h.keys[len(h.keys)-1]))
		}
	}
	actions["mails go out"] = func(*rapid.T) { h.mail() }
	actions["guess"] = func(t *rapid.T) { h.login(t, h.address(t), h.password(t), nil) }
	actions["guess from a device"] = func(t *rapid.T) {
		device := "" // of no browser that was seen before
		if len(h.devices) > 0 {
			device = rapid.SampledFrom(h.devices).Draw(t, "device")
		}
		h.login(t, h.address(t), h.password(t), &device)
	}
	actions["prove"] = func(t *rapid.T) { h.prove(t, of(t, "user", h.userIDs()), h.password(t), "") }
	actions["prove from a device"] = func(t *rapid.T) {
		h.prove(t, of(t, "user", h.userIDs()), h.password(t), of(t, "device", h.devices))
	}
	actions["time passes"] = func(t *rapid.T) {
		minutes := rapid.SampledFrom([]int{10, 20, 30, 70}).Draw(t, "minutes")
		h.backdate(time.Duration(minutes) * time.Minute)
		h.w.now += minutes
		h.passed += time.Duration(minutes) * time.Minute
	}
	actions["registrations expire"] = func(t *rapid.T) {
		_, err := h.expire(t.Context(), 100)
		h.must(err)
		h.w.expire()
	}
	return actions
}

// operations are those that run in the caller's transaction.
func (h *history[Tx]) operations() map[string]func(*rapid.T) operation[Tx] {
	operator := h.a.Operator("test")
	byID := func(do func(ctx context.Context, tx Tx, id string) error, model func(w *world, id string)) func(*rapid.T) operation[Tx] {
		return func(t *rapid.T) operation[Tx] {
			id := of(t, "user", h.userIDs())
			return func(ctx context.Context, tx Tx, w *world) (got, want error) {
				got = do(ctx, tx, id)
				model(w, id)
				return got, nil
			}
		}
	}
	byAddress := func(do func(ctx context.Context, tx Tx, address string) error, model func(w *world, address string) error) func(*rapid.T) operation[Tx] {
		return func(t *rapid.T) operation[Tx] {
			address := h.address(t)
			return func(ctx context.Context, tx Tx, w *world) (got, want error) {
				return do(ctx, tx, address), model(w, address)
			}
		}
	}
	return map[string]func(*rapid.T) operation[Tx]{
		"register":      h.register,
		"request reset": h.requestReset,
		"answer":        func(t *rapid.T) operation[Tx] { return h.answer(of(t, "request", h.asked)) },
		"activate":      func(t *rapid.T) operation[Tx] { return h.activateAnyhow(t, of(t, "key", h.keys)) },
		"reset": func(t *rapid.T) operation[Tx] {
			return h.resetPassword(of(t, "link", h.links[accounts.MailPasswordReset]), h.password(t))
		},
		"change password": func(t *rapid.T) operation[Tx] {
			p, password := of(t, "proof", h.proofs), h.password(t)
			return func(ctx context.Context, tx Tx, w *world) (got, want error) {
				_, got = h.a.ChangePassword(ctx, tx, p.real, password)
				return got, w.changePassword(p, password)
			}
		},
		"request change of address": func(t *rapid.T) operation[Tx] {
			return h.requestEmailChange(of(t, "proof", h.proofs), h.address(t))
		},
		"confirm change of address": func(t *rapid.T) operation[Tx] {
			return h.confirmEmailChange(of(t, "link", h.links[accounts.MailEmailChange]))
		},
		"resend": byAddress(func(ctx context.Context, tx Tx, address string) error {
			_, err := h.a.Resend(ctx, tx, address)
			return err
		}, (*world).resend),
		"lock": func(t *rapid.T) operation[Tx] {
			address, minutes := h.address(t), rapid.SampledFrom([]int{5, operatorFor}).Draw(t, "minutes")
			return func(ctx context.Context, tx Tx, w *world) (got, want error) {
				got = operator.Lock(ctx, tx, address, time.Duration(minutes)*time.Minute)
				w.lock(address, minutes)
				return got, nil
			}
		},
		"unlock":  byAddress(operator.Unlock, func(w *world, address string) error { w.unlock(address); return nil }),
		"disable": byID(operator.Disable, func(w *world, id string) { w.setDisabled(id, true) }),
		"enable":  byID(operator.Enable, func(w *world, id string) { w.setDisabled(id, false) }),
		"grant": byID(func(ctx context.Context, tx Tx, id string) error { return operator.Grant(ctx, tx, id, "admin") },
			func(w *world, id string) { w.setRole(id, "admin", true) }),
		"revoke": byID(func(ctx context.Context, tx Tx, id string) error { return operator.Revoke(ctx, tx, id, "admin") },
			func(w *world, id string) { w.setRole(id, "admin", false) }),
		"renew keys": func(*rapid.T) operation[Tx] {
			return func(ctx context.Context, tx Tx, w *world) (got, want error) {
				_, got = h.a.RenewKeys(ctx, tx, boundKID, 100)
				w.renewKeys()
				return got, nil
			}
		},
		"lift lockouts": func(*rapid.T) operation[Tx] {
			return func(ctx context.Context, tx Tx, w *world) (got, want error) {
				_, got = h.a.LiftLockouts(ctx, tx, 100)
				w.liftLockouts()
				return got, nil
			}
		},
	}
}

func (h *history[Tx]) requestReset(t *rapid.T) operation[Tx] { return h.requestResetOf(h.address(t)) }

func (h *history[Tx]) requestResetOf(address string) operation[Tx] {
	return func(ctx context.Context, tx Tx, w *world) (got, want error) {
		if got = h.a.RequestReset(ctx, tx, address); got == nil {
			w.ask(asked{address, accounts.MailPasswordReset}, resetTTL, h.seen())
		}
		return got, nil
	}
}

// noted is the store, and tells the ID of the request that was saved.
type noted[Tx any] struct {
	accounts.Store[Tx]
	saved *string
}

func (n noted[Tx]) SaveRequest(ctx context.Context, tx Tx, r accounts.NewRequest) (accounts.SavedRequest, error) {
	saved, err := n.Store.SaveRequest(ctx, tx, r)
	*n.saved = saved.ID
	return saved, err
}

// ForgetAttempts leaves what counts no more, which one store keeps for a day more than the other.
func (noted[Tx]) ForgetAttempts(context.Context, Tx, time.Duration, int) (int, error) { return 0, nil }

// seen is the ID of the request that was just saved, "" for none.
func (h *history[Tx]) seen() (id string) {
	id, h.saved = h.saved, ""
	if id != "" {
		h.asked = append(h.asked, id)
	}
	return id
}

func (h *history[Tx]) answer(requestID string) operation[Tx] {
	return func(ctx context.Context, tx Tx, w *world) (got, want error) {
		got = h.a.Answer(ctx, tx, requestID)
		w.answer(requestID)
		return got, nil
	}
}

func (h *history[Tx]) resetPassword(key, password string) operation[Tx] {
	return func(ctx context.Context, tx Tx, w *world) (got, want error) {
		_, got = h.a.ResetPassword(ctx, tx, key, password)
		return got, w.resetPassword(key, password)
	}
}

func (h *history[Tx]) requestEmailChange(p proof, address string) operation[Tx] {
	return func(ctx context.Context, tx Tx, w *world) (got, want error) {
		return h.a.RequestEmailChange(ctx, tx, p.real, address), w.requestEmailChange(p, address)
	}
}

func (h *history[Tx]) confirmEmailChange(key string) operation[Tx] {
	return func(ctx context.Context, tx Tx, w *world) (got, want error) {
		_, got = h.a.ConfirmEmailChange(ctx, tx, key)
		return got, w.confirmEmailChange(key)
	}
}

// mail plays the worker: it gives a key to whatever waits for one.
func (h *history[Tx]) mail() {
	ctx := h.t.Context()
	for _, address := range historyAddresses() {
		if p, ok := h.w.pendings[address]; ok && p.key == "" {
			p.key = newKey()
			h.must(h.DB.BindActivationKey(ctx, authjobs.MailDraft{PendingID: p.id, Generation: p.generation}, boundKID, accounts.KeyHash(p.key)))
			h.w.pendings[address] = p
			h.keys = append(h.keys, p.key)
		}
	}
	for _, id := range h.userIDs() {
		for _, mail := range []accounts.Mail{accounts.MailPasswordReset, accounts.MailEmailChange} {
			token, ok := h.w.tokens[tokenOf{id, mail}]
			if !ok || token.key != "" {
				continue
			}
			token.key = newKey()
			d := authjobs.MailDraft{UserID: id, Mail: string(mail)}
			_, err := fmt.Sscan(h.scalar(fmt.Sprintf("SELECT generation FROM user_tokens WHERE user_id = '%s' AND purpose = '%s'", id, mail)), &d.Generation)
			h.must(err)
			h.must(h.DB.BindTokenKey(ctx, d, boundKID, accounts.KeyHash(token.key)))
			h.w.tokens[tokenOf{id, mail}] = token
			h.links[mail] = append(h.links[mail], token.key)
		}
	}
}

// attempt draws whether an attempt, which is in nobody's transaction, is cut off.
func (h *history[Tx]) attempt(t *rapid.T, do func(ctx context.Context) error, in string, worlds []*world) {
	ctx := t.Context()
	cut := rapid.IntRange(0, 7).Draw(t, "cut off") == 0
	if cut {
		c := newCrash(ctx, rapid.IntRange(1, 30).Draw(t, "after"))
		defer c.end()
		ctx = c
	}
	err := do(ctx)
	if cut && isAny(err, context.Canceled) {
		h.decide(worlds...)
		return
	}
	var want error
	if in == "" {
		want = accounts.ErrRefused
	}
	h.agree(err, want)
	h.w = worlds[len(worlds)-1]
}

// login is an attempt from a device, or from none.
func (h *history[Tx]) login(t *rapid.T, address, password string, device *string) {
	if device == nil {
		in, _, worlds := h.w.login(address, password, "")
		h.attempt(t, func(ctx context.Context) error {
			u, err := h.a.Authenticate(ctx, address, password)
			if err == nil && u.ID != in {
				t.Fatalf("%s is in, the model says %q", u.ID, in)
			}
			return err
		}, in, worlds)
		return
	}
	in, known, worlds := h.w.login(address, password, *device)
	given := ""
	if in != "" && !known { // a device is given to whoever comes without one
		given = newKey()
		end := worlds[len(worlds)-1].copy()
		end.giveDevice(in, given)
		worlds = append(worlds, end)
	}
	h.attempt(t, func(ctx context.Context) error {
		u, d, err := h.a.AuthenticateDevice(ctx, address, password, accounts.ParseDevice(*device))
		if err == nil && (u.ID != in || known != (d.RevealText() == *device)) {
			t.Fatalf("%s is in, the model says %q, from a known device: %v", u.ID, in, known)
		}
		if err == nil && !known {
			end := worlds[len(worlds)-1]
			end.devices[d.RevealText()] = end.devices[given]
			delete(end.devices, given)
			h.devices = append(h.devices, d.RevealText())
		}
		return err
	}, in, worlds)
}

func (w *world) giveDevice(id, token string) {
	for other, d := range w.devices {
		if d.userID == id && d.expires <= w.now {
			delete(w.devices, other)
		}
	}
	w.devices[token] = hDevice{userID: id, expires: w.now + deviceTTL}
}

func (h *history[Tx]) prove(t *rapid.T, id, password, device string) {
	u := h.w.users[id]
	in, _, worlds := h.w.login(u.address, password, device)
	h.attempt(t, func(ctx context.Context) error {
		p, err := h.a.ProveDevice(ctx, id, password, accounts.ParseDevice(device))
		if err == nil {
			h.proofs = append(h.proofs, proof{id: id, address: u.address, version: u.version, real: p})
		}
		return err
	}, in, worlds)
}
