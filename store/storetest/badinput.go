package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

const rightPassword = "Violets-are-9-blue"

// badAddresses are no addresses that anybody can have.
func badAddresses() map[string]string {
	return map[string]string{
		"blank": "", "a header": "ada@example.org\r\nBcc: eve@example.org", "a line end": "ada@example.org\n", "two": "ada@example.org,eve@example.org",
		"two of them": "ada@example.org eve@example.org", "a group": "all:ada@example.org;", "a name": "Ada <ada@example.org>", "a route": "<ada@example.org>",
		"zero-width": "a\u200bda@example.org", "zero-width in the domain": "ada@exam\u200dple.org", "right-to-left": "ada\u202e@example.org",
		"a control": "ada\x07@example.org", "the Kelvin sign": "\u212aate@example.org", "capital dotted I": "\u0130da@example.org", "long s": "ada@\u017fea.example",
		"65 bytes before it": strings.Repeat("a", 65) + "@example.org", "255 bytes": strings.Repeat("a", 60) + "@" + strings.Repeat("abcdefghi.", 19) + "orgs",
		"a megabyte": strings.Repeat("a", 1<<20) + "@example.org", "NUL": "ada\x00@example.org", "invalid UTF-8": "ada\xff@example.org",
	}
}

// badPasswords are none that anybody can have.
func badPasswords() map[string]string {
	return map[string]string{
		"0 bytes": "", "1,025 bytes": strings.Repeat("x", 1025), "a megabyte": strings.Repeat("x", 1<<20), "NUL": "Violets\x00are-9-blue", "invalid UTF-8": "Violets\xffare-9-blue",
	}
}

// badKeys are what no link holds.
func badKeys() map[string]string {
	key := newKey()
	return map[string]string{
		"blank": "", "a space": " ", "short": key[:42], "long": key + "A", "padded": key + "=", "NUL": key[:42] + "\x00", "a line end": key[:42] + "\n",
		"invalid UTF-8": key[:42] + "\xff", "a megabyte": strings.Repeat("A", 1<<20), "somebody else's": key,
	}
}

// rows counts those of every table that accounts writes.
func (s suite[Tx]) rows() string {
	s.Helper()
	var counts []string
	for _, table := range []string{
		"users", "user_roles", "user_tokens", "user_notices", "login_state", "login_devices", "pending_users", "owner_requests", "outbox", "audit_log", "mails", "ledger",
	} {
		counts = append(counts, fmt.Sprintf("(SELECT '%s ' || count(*) FROM %s)", table, table))
	}
	return s.scalar("SELECT " + strings.Join(counts, " || ', ' || "))
}

// accounts are over the driver, with hashes that cost next to nothing.
func (s suite[Tx]) accounts(c accounts.Config) *accounts.Accounts[Tx] {
	s.Helper()
	if c.Hash == (accounts.HashCost{}) {
		c.Hash = accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}
	}
	a, err := accounts.New(s.DB, authjobs.NewNotifier[Tx](s.DB), c)
	must(s, err)
	return a
}

// registered is a user of that address and rightPassword.
func (s suite[Tx]) registered(a *accounts.Accounts[Tx], address string) (user accounts.User) {
	s.Helper()
	s.tx(func(tx Tx) error {
		p, err := a.Register(s.Context(), tx, accounts.Registration{Email: address, Password: rightPassword})
		if err == nil && p.ID == "" {
			err = errors.New("the address is taken")
		}
		return err
	})
	state := s.state(address)
	key := newKey()
	s.bind(accounts.SavedPending{ID: state.Pending.ID, Generation: state.Pending.Generation}, key)
	s.tx(func(tx Tx) (err error) {
		user, err = a.Activate(s.Context(), tx, key)
		return err
	})
	return user
}

func badInputTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"bad input to any operation of accounts is refused by a typed error, and nothing is written", func(s suite[Tx]) {
			a := s.accounts(accounts.Config{})
			ada := s.registered(a, someone)
			key, link := newKey(), newKey()
			s.bind(s.save(newPending("waiting@example.org")), link)
			s.bindToken(boundKID, s.token(newReset(someone)), key)
			proof, err := a.Prove(s.Context(), ada.ID, rightPassword)
			must(s, err)
			before, operator := s.rows(), a.Operator("test")
			refused := func(what string, target error, do func(ctx context.Context, tx Tx) error) {
				s.Helper()
				must(s, s.DB.InTx(s.Context(), func(tx Tx) error { // which commits, and is usable still
					if err := do(s.Context(), tx); !errors.Is(err, target) {
						s.Errorf("%s: want %v, got %v", what, target, err)
					}
					_, err := s.DB.TokenUser(s.Context(), tx, accounts.MailPasswordReset, accounts.KeyHash(key))
					return err
				}))
				if after := s.rows(); after != before {
					s.Errorf("%s: something was written\nbefore %s\nafter  %s", what, before, after)
				}
			}
			for name, bad := range badAddresses() {
				for operation, do := range map[string]func(ctx context.Context, tx Tx) error{
					"register": func(ctx context.Context, tx Tx) error {
						_, err := a.Register(ctx, tx, accounts.Registration{Email: bad, Password: rightPassword})
						return err
					},
					"resend":            func(ctx context.Context, tx Tx) error { _, err := a.Resend(ctx, tx, bad); return err },
					"request reset":     func(ctx context.Context, tx Tx) error { return a.RequestReset(ctx, tx, bad) },
					"change of address": func(ctx context.Context, tx Tx) error { return a.RequestEmailChange(ctx, tx, proof, bad) },
					"lock":              func(ctx context.Context, tx Tx) error { return operator.Lock(ctx, tx, bad, time.Hour) },
					"unlock":            func(ctx context.Context, tx Tx) error { return operator.Unlock(ctx, tx, bad) },
					"show":              func(ctx context.Context, _ Tx) error { _, err := a.Show(ctx, bad); return err },
				} {
					refused(operation+": "+name, accounts.ErrInvalidEmail, do)
				}
				refused("authenticate: "+name, accounts.ErrRefused, func(ctx context.Context, _ Tx) error {
					_, err := a.Authenticate(ctx, bad, rightPassword)
					_, _, fromDevice := a.AuthenticateDevice(ctx, bad, rightPassword, accounts.ParseDevice(newKey()))
					return bothRefused(err, fromDevice)
				})
			}
			for name, bad := range badPasswords() {
				for operation, do := range map[string]func(ctx context.Context, tx Tx) error{
					"register": func(ctx context.Context, tx Tx) error {
						_, err := a.Register(ctx, tx, accounts.Registration{Email: "new@example.org", Password: bad})
						return err
					},
					"register later": func(ctx context.Context, tx Tx) error {
						if bad == "" { // as it must be
							return accounts.ErrInvalidPassword
						}
						_, err := a.Register(ctx, tx, accounts.Registration{Email: "new@example.org", Password: bad, PasswordLater: true})
						return err
					},
					"activate": func(ctx context.Context, tx Tx) error {
						_, err := a.ActivateWithPassword(ctx, tx, link, bad)
						return err
					},
					"reset":           func(ctx context.Context, tx Tx) error { _, err := a.ResetPassword(ctx, tx, key, bad); return err },
					"change password": func(ctx context.Context, tx Tx) error { _, err := a.ChangePassword(ctx, tx, proof, bad); return err },
				} {
					refused(operation+": "+name, accounts.ErrInvalidPassword, do)
				}
				refused("authenticate: "+name, accounts.ErrRefused, func(ctx context.Context, _ Tx) error {
					_, err := a.Authenticate(ctx, someone, bad)
					_, proven := a.Prove(ctx, ada.ID, bad)
					_, _, fromDevice := a.AuthenticateDevice(ctx, someone, bad, accounts.Device{})
					return bothRefused(err, bothRefused(proven, fromDevice))
				})
				refused("activate: "+name, accounts.ErrRefused, func(ctx context.Context, tx Tx) error {
					_, err := a.ActivateProving(ctx, tx, link, bad)
					return err
				})
			}
			for name, bad := range badKeys() {
				refused("activate: "+name, accounts.ErrUnknownKey, func(ctx context.Context, tx Tx) error { _, err := a.Activate(ctx, tx, bad); return err })
				refused("activate with a password: "+name, accounts.ErrUnknownKey, func(ctx context.Context, tx Tx) error {
					_, err := a.ActivateWithPassword(ctx, tx, bad, rightPassword)
					return err
				})
				refused("activate by a password: "+name, accounts.ErrUnknownKey, func(ctx context.Context, tx Tx) error {
					_, err := a.ActivateProving(ctx, tx, bad, rightPassword)
					return err
				})
				refused("reset: "+name, accounts.ErrUnknownToken, func(ctx context.Context, tx Tx) error {
					_, err := a.ResetPassword(ctx, tx, bad, rightPassword)
					return err
				})
				refused("confirm: "+name, accounts.ErrUnknownToken, func(ctx context.Context, tx Tx) error {
					_, err := a.ConfirmEmailChange(ctx, tx, bad)
					return err
				})
				refused("answer: "+name, nil, func(ctx context.Context, tx Tx) error { return a.Answer(ctx, tx, bad) })
			}
			refused("activate: the key of a reset", accounts.ErrUnknownKey, func(ctx context.Context, tx Tx) error { _, err := a.Activate(ctx, tx, key); return err })
			refused("confirm: the key of a reset", accounts.ErrUnknownToken, func(ctx context.Context, tx Tx) error {
				_, err := a.ConfirmEmailChange(ctx, tx, key)
				return err
			})
			for _, id := range []string{"", "nobody", newPending("").ID, "a\x00", "\xff", strings.Repeat("a", 1<<20), ada.ID + "'"} {
				refused("disable "+fmt.Sprintf("%.20q", id), accounts.ErrNoSuchUser, func(ctx context.Context, tx Tx) error { return operator.Disable(ctx, tx, id) })
				refused("grant to "+fmt.Sprintf("%.20q", id), accounts.ErrNoSuchUser, func(ctx context.Context, tx Tx) error { return operator.Grant(ctx, tx, id, "admin") })
				refused("prove for "+fmt.Sprintf("%.20q", id), accounts.ErrRefused, func(ctx context.Context, _ Tx) error {
					_, err := a.Prove(ctx, id, rightPassword)
					return err
				})
			}
		}},
		{"passwords of 72, 73 and 1,024 bytes are told apart by their last byte", func(s suite[Tx]) {
			a := s.accounts(accounts.Config{Lockout: accounts.Lockout{Limit: 100}})
			for i, n := range []int{72, 73, 1024} {
				address, password := fmt.Sprintf("user%d@example.org", i), strings.Repeat("x", n-1)
				s.tx(func(tx Tx) error {
					_, err := a.Register(s.Context(), tx, accounts.Registration{Email: address, Password: password + "y"})
					return err
				})
				state := s.state(address)
				s.bind(accounts.SavedPending{ID: state.Pending.ID, Generation: 1}, address)
				_, err := s.activate(s.Context(), address)
				must(s, err)
				for _, other := range []string{password, password + "x", password[:n-2] + "yy"} {
					_, err := a.Authenticate(s.Context(), address, other)
					want(s, err, accounts.ErrRefused)
				}
				_, err = a.Authenticate(s.Context(), address, password+"y")
				must(s, err)
			}
		}},
		{"a stored hash of absurd parameters is refused like a wrong password, within a moment", func(s suite[Tx]) {
			a := s.accounts(accounts.Config{Lockout: accounts.Lockout{Limit: 1000}})
			s.registered(a, someone)
			good := "$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
			ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
			defer cancel()
			for _, hash := range []string{
				"$argon2id$v=19$m=4294967295,t=1,p=1" + good, "$argon2id$v=19$m=262144,t=4294967295,p=1" + good, "$argon2id$v=19$m=19456,t=2,p=255" + good,
				"$argon2id$v=19$m=99999999999999999999,t=1,p=1" + good, "$argon2id$v=19$m=-1,t=-1,p=-1" + good, "$argon2id$v=19$m=0,t=0,p=0" + good,
				"$argon2i$v=19$m=8,t=1,p=1" + good, "$argon2id$v=19$m=8,t=1,p=1$$", "$argon2id$", "$2a$31$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghijklmno", "x", strings.Repeat("$", 1<<16),
			} {
				s.exec(fmt.Sprintf("UPDATE users SET password_hash = '%s'", hash))
				for _, password := range []string{rightPassword, "x"} {
					_, err := a.Authenticate(ctx, someone, password)
					if err != accounts.ErrRefused { //nolint:errorlint // the very value, so that no answer differs
						s.Errorf("%.40s: got %v", hash, err)
					}
				}
			}
		}},
	}
}

// bothRefused is what neither may do without.
func bothRefused(a, b error) error {
	if !errors.Is(a, accounts.ErrRefused) {
		return a
	}
	return b
}
