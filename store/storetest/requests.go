package storetest

import (
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
)

// newRequest asks for a link by an address.
func newRequest(emailNorm string) accounts.NewRequest {
	return accounts.NewRequest{ID: newPending("").ID, EmailNorm: emailNorm, Mail: accounts.MailPasswordReset, TTL: time.Hour}
}

func (s suite[Tx]) ask(r accounts.NewRequest) (saved accounts.SavedRequest, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		saved, err = s.DB.SaveRequest(s.Context(), tx, r)
		return err
	})
	return saved, err
}

func (s suite[Tx]) takeRequest(id string) (r accounts.Request, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		r, err = s.DB.TakeRequest(s.Context(), tx, id)
		return err
	})
	return r, err
}

func requestTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"what is asked for by an address is answered once, whether or not anybody has it, however many race", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			for _, norm := range []string{someone, "nobody@example.org"} {
				r := newRequest(norm)
				before := s.now()
				saved, err := s.ask(r)
				must(s, err)
				equal(s, "id", r.ID, saved.ID)
				near(s, "expires_at", before.Add(time.Hour), s.now().Add(time.Hour), saved.ExpiresAt)
				won, _ := tally(s, race(20, func(int) error {
					got, err := s.takeRequest(r.ID)
					if err == nil {
						equal(s, "request", accounts.Request{EmailNorm: norm, Mail: r.Mail}, got)
					}
					return err
				}), accounts.ErrNoSuchRequest)
				equal(s, "answered", 1, won)
			}
		}},
		{"of those who ask at once for one address one is heard, and nobody again within a while", func(s suite[Tx]) {
			won, _ := tally(s, race(20, func(int) error {
				r := newRequest(someone)
				r.NotWithin = time.Minute
				_, err := s.ask(r)
				return err
			}), accounts.ErrThrottled)
			equal(s, "heard", 1, won)
			r := newRequest(someone)
			r.NotWithin = time.Minute
			s.tx(func(tx Tx) error { // which stays usable
				_, err := s.DB.SaveRequest(s.Context(), tx, r)
				want(s, err, accounts.ErrThrottled)
				_, err = s.DB.SaveRequest(s.Context(), tx, newRequest("other@example.org"))
				return err
			})
			s.backdate(time.Minute)
			_, err := s.ask(r)
			must(s, err)
		}},
		{"a request that nobody answered yet keeps its ID, however often it is asked for again, until its time is over", func(s suite[Tx]) {
			first := newRequest(someone)
			for range 2 {
				for _, r := range []accounts.NewRequest{first, newRequest(someone)} {
					saved, err := s.ask(r)
					must(s, err)
					equal(s, "id", first.ID, saved.ID)
				}
				_, err := s.takeRequest(first.ID)
				must(s, err)
				first = newRequest(someone)
			}
			_, err := s.ask(first)
			must(s, err)
			s.backdate(time.Hour)
			later := newRequest(someone)
			saved, err := s.ask(later)
			must(s, err)
			equal(s, "id", later.ID, saved.ID)
		}},
		{"a request that was answered, is over, rolled back or none is not answered", func(s suite[Tx]) {
			first, second := newRequest(someone), newRequest(someone)
			for _, r := range []accounts.NewRequest{first, second} {
				_, err := s.ask(r)
				must(s, err)
				if r.ID == first.ID {
					_, err = s.takeRequest(first.ID)
					must(s, err)
				}
			}
			for _, id := range []string{first.ID, newPending("").ID, "", "no UUID"} {
				_, err := s.takeRequest(id)
				want(s, err, accounts.ErrNoSuchRequest)
			}
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				_, err := s.DB.TakeRequest(s.Context(), tx, second.ID)
				must(s, err)
				return errRollback
			}), errRollback)
			s.backdate(time.Hour)
			_, err := s.takeRequest(second.ID)
			want(s, err, accounts.ErrNoSuchRequest)
		}},
		{"requests whose time is over are swept in batches after the registrations, live ones stay", func(s suite[Tx]) {
			s.save(newPending("da@example.org"))
			for i := range 3 {
				_, err := s.ask(newRequest(fmt.Sprintf("%d@example.org", i)))
				must(s, err)
			}
			s.backdate(time.Hour)
			_, err := s.ask(newRequest(someone))
			must(s, err)
			for _, swept := range []int{2, 2, 0} {
				n, err := s.expire(s.Context(), 2)
				must(s, err)
				equal(s, "swept", swept, n)
			}
			equal(s, "left", "1", s.scalar("SELECT count(*) FROM owner_requests"))
		}},
	}
}
