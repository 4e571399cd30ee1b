package storetest

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sealq/sealq/accounts"
)

// fullEnv asks for full lengths: `make soak` sets it.
const fullEnv = "SEALQ_SURVIVAL_FULL"

// timingTests hold the time of an answer about a known address to that of one about an unknown address, in the median of 2,000 pairs that take
// turns, to between 0.9 and 1.1. They belong to the full form alone: what takes time is no business of a run beside many others.
func timingTests[Tx any]() []test[Tx] {
	if os.Getenv(fullEnv) == "" { //nolint:forbidigo // the suite has no command of its own
		return nil
	}
	return []test[Tx]{{"the time of an answer does not tell whether an address has an account", func(s suite[Tx]) {
		const pairs, least, most = 2000, 0.9, 1.1
		a := s.accounts(accounts.Config{
			TellOwner: true, RegisterAgain: accounts.NewGeneration, MailEvery: -1, Lockout: accounts.Lockout{Limit: 1_000_000},
			Hash: accounts.HashCost{MemoryKiB: 7168, Passes: 2, Lanes: 1},
		})
		const each = 8
		for i := range each {
			s.registered(a, fmt.Sprintf("known%d@example.org", i))
		}
		for _, operation := range []struct {
			name string
			do   func(address string) error
		}{
			{"authenticate", func(address string) error {
				_, err := a.Authenticate(s.Context(), address, "a wrong guess")
				want(s, err, accounts.ErrRefused)
				return nil
			}},
			{"request reset", func(address string) error {
				return s.DB.InTx(s.Context(), func(tx Tx) error { return a.RequestReset(s.Context(), tx, address) })
			}},
			{"register", func(address string) error {
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					_, err := a.Register(s.Context(), tx, accounts.Registration{Email: address, Password: rightPassword})
					return err
				})
			}},
		} {
			took := func(address string) float64 {
				began := time.Now() //nolint:forbidigo // the test is about real time
				must(s, operation.do(address))
				return float64(time.Since(began)) //nolint:forbidigo // likewise
			}
			ratios := make([]float64, 0, pairs)
			for i := range pairs + each { // the first of each address write what later ones change
				known, unknown := fmt.Sprintf("known%d@example.org", i%each), fmt.Sprintf("other%d@example.org", i%each)
				var k, u float64
				if i/each%2 == 0 {
					k, u = took(known), took(unknown)
				} else {
					u, k = took(unknown), took(known)
				}
				if i >= each {
					ratios = append(ratios, k/u)
				}
			}
			slices.Sort(ratios)
			median := ratios[len(ratios)/2]
			s.Logf("%s: an answer about a known address takes %.3f of the time of one about an unknown address, in the median of %d pairs", operation.name, median, pairs)
			if median < least || median > most {
				s.Errorf("%s: the ratio %.3f is not between %v and %v", operation.name, median, least, most)
			}
		}
	}}}
}
