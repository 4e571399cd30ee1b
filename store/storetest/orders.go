package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealq/sealq/accounts"
)

// orderTests hold what may happen to one registration to each other, in every order and at once.
func orderTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"activation, expiry and re-registration in every order: a key gives the password that it was mailed for, and only in its time", func(s suite[Tx]) {
			for i, order := range permutations("activate", "expire", "register again") {
				first := newPending(fmt.Sprintf("%d@example.org", i))
				key := "key of " + first.ID
				s.bind(s.save(first), key)
				second := newPending(fmt.Sprintf("%d@example.org", i))
				second.PasswordHash, second.ReplaceLive = otherHash(), true
				alive := true // what the key opens
				for _, step := range order {
					switch step {
					case "activate":
						_, err := s.activate(s.Context(), key)
						if alive {
							must(s, err)
							s.wantPassword(first.ID, first.PasswordHash)
						} else {
							want(s, err, accounts.ErrUnknownKey)
						}
					case "expire":
						s.backdate(time.Hour)
						_, err := s.expire(s.Context(), 1000)
						must(s, err)
						alive = false
					case "register again":
						err := s.DB.InTx(s.Context(), func(tx Tx) error {
							_, err := s.DB.SavePending(s.Context(), tx, second)
							return err
						})
						if s.state(first.EmailNorm).User != nil {
							want(s, err, accounts.ErrAlreadyActive)
						} else {
							must(s, err)
						}
						alive = false
					}
				}
				activated := slices.Index(order, "activate") == 0
				equal(s, fmt.Sprint("has an account after ", order), activated, s.state(first.EmailNorm).User != nil)
			}
		}},
		{"activation, expiry and re-registration at once: who is activated has the password of the key", func(s suite[Tx]) {
			for i := range 20 {
				first, second := newPending(fmt.Sprintf("%d@example.org", i)), newPending(fmt.Sprintf("%d@example.org", i))
				second.PasswordHash, second.ReplaceLive = otherHash(), true
				key := "key of " + first.ID
				s.bind(s.save(first), key)
				outcomes := race(3, func(j int) error {
					switch j {
					case 0:
						_, err := s.activate(s.Context(), key)
						return err
					case 1:
						_, err := s.expire(s.Context(), 1000)
						return err
					default:
						return s.DB.InTx(context.WithoutCancel(s.Context()), func(tx Tx) error {
							_, err := s.DB.SavePending(s.Context(), tx, second)
							return err
						})
					}
				})
				must(s, outcomes[1])
				state := s.state(first.EmailNorm)
				switch {
				case outcomes[0] == nil && errors.Is(outcomes[2], accounts.ErrAlreadyActive):
					s.wantPassword(first.ID, first.PasswordHash)
					equal(s, "waits for its confirmation", false, state.Pending != nil)
				case errors.Is(outcomes[0], accounts.ErrUnknownKey) && outcomes[2] == nil:
					equal(s, "has an account", false, state.User != nil)
					equal(s, "generation", 2, state.Pending.Generation)
				default:
					s.Errorf("activation ended with %v, re-registration with %v", outcomes[0], outcomes[2])
				}
			}
		}},
	}
}

// permutations are all orders of all.
func permutations(all ...string) [][]string {
	if len(all) == 0 {
		return [][]string{nil}
	}
	var orders [][]string
	for i, first := range all {
		for _, rest := range permutations(slices.Concat(all[:i], all[i+1:])...) {
			orders = append(orders, append([]string{first}, rest...))
		}
	}
	return orders
}
