package storetest

import (
	"context"

	"pgregory.net/rapid"

	"github.com/sealq/sealq/accounts"
)

// The histories' part for registrations and their activation.

// register asks for a password, or leaves it to whoever has the link: then it is "" in the model.
func (h *history[Tx]) register(t *rapid.T) operation[Tx] {
	r := accounts.Registration{Email: h.address(t), PasswordLater: rapid.Bool().Draw(t, "password later")}
	if !r.PasswordLater {
		r.Password = h.password(t)
	}
	return func(ctx context.Context, tx Tx, w *world) (got, want error) {
		p, got := h.a.Register(ctx, tx, r)
		return got, w.register(r.Email, r.Password, p.ID, h.seen())
	}
}

// activateAnyhow draws what is asked of whoever has the key: nothing, a password of his choice, or the registration's.
func (h *history[Tx]) activateAnyhow(t *rapid.T, key string) operation[Tx] {
	password := h.password(t)
	return map[string]operation[Tx]{
		"nothing": func(ctx context.Context, tx Tx, w *world) (got, want error) {
			_, got = h.a.Activate(ctx, tx, key)
			return got, w.activate(key)
		},
		"choose": func(ctx context.Context, tx Tx, w *world) (got, want error) {
			_, got = h.a.ActivateWithPassword(ctx, tx, key, password)
			return got, w.activateWith(key, password)
		},
		"prove": func(ctx context.Context, tx Tx, w *world) (got, want error) {
			_, got = h.a.ActivateProving(ctx, tx, key, password)
			if _, p := w.pendingOf(key); p.password != "" && p.password != password {
				return got, accounts.ErrRefused
			}
			return got, w.activate(key)
		},
	}[rapid.SampledFrom([]string{"nothing", "choose", "prove"}).Draw(t, "behind the link")]
}

// pendingOf is the live registration that a key activates.
func (w *world) pendingOf(key string) (address string, p hPending) {
	for address, p := range w.pendings {
		if p.key == key && p.expires > w.now {
			return address, p
		}
	}
	return "", hPending{}
}

func (w *world) activate(key string) error {
	_, p := w.pendingOf(key)
	if p.id != "" && p.password == "" {
		return accounts.ErrNoPassword
	}
	return w.activateWith(key, p.password)
}

func (w *world) activateWith(key, password string) error {
	address, p := w.pendingOf(key)
	if address == "" {
		return accounts.ErrUnknownKey
	}
	delete(w.pendings, address)
	if w.owner(address) != "" {
		return accounts.ErrAlreadyActive
	}
	w.users[p.id] = hUser{address: address, password: password, roles: map[string]bool{}}
	w.change("account.activated")
	return nil
}
