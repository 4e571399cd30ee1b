package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// take takes a lease, or says that another has it.
func (s suite[Tx]) take(ctx context.Context, name, holder string, length time.Duration) error {
	took, err := s.DB.TakeLease(ctx, name, holder, length)
	if err == nil && !took {
		return errTaken
	}
	return err
}

// errTaken says that another has the lease.
var errTaken = errors.New("taken")

func leaseTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"who takes a free lease has it, others do not, and another lease is free", func(s suite[Tx]) {
			must(s, s.take(s.Context(), "ring rotation", "host/1", time.Minute))
			want(s, s.take(s.Context(), "ring rotation", "host/2", time.Minute), errTaken)
			want(s, s.take(s.Context(), "ring rotation", "HOST/1", time.Minute), errTaken)
			must(s, s.take(s.Context(), "another", "host/2", time.Minute))
			must(s, s.take(s.Context(), "Another", "host/1", time.Minute))
		}},
		{"a lease ends by itself", func(s suite[Tx]) {
			must(s, s.take(s.Context(), "lease", "host/1", time.Minute))
			s.backdate(50 * time.Second)
			want(s, s.take(s.Context(), "lease", "host/2", time.Minute), errTaken)
			s.backdate(10 * time.Second)
			must(s, s.take(s.Context(), "lease", "host/2", time.Minute))
			want(s, s.take(s.Context(), "lease", "host/1", time.Minute), errTaken)
		}},
		{"its holder renews it from now on, and who asks in vain does not", func(s suite[Tx]) {
			must(s, s.take(s.Context(), "lease", "host/1", time.Minute))
			s.backdate(40 * time.Second)
			must(s, s.take(s.Context(), "lease", "host/1", time.Minute))
			s.backdate(40 * time.Second)
			want(s, s.take(s.Context(), "lease", "host/2", time.Hour), errTaken)
			s.backdate(20 * time.Second)
			must(s, s.take(s.Context(), "lease", "host/2", time.Minute))
		}},
		{"its holder gives it back with a length of 0, and nobody else can", func(s suite[Tx]) {
			must(s, s.take(s.Context(), "lease", "host/1", time.Minute))
			want(s, s.take(s.Context(), "lease", "host/2", 0), errTaken)
			want(s, s.take(s.Context(), "lease", "host/2", time.Minute), errTaken)
			must(s, s.take(s.Context(), "lease", "host/1", 0))
			must(s, s.take(s.Context(), "lease", "host/2", time.Minute))
		}},
		{"of twenty who take a lease at once one has it, each time that it has ended", func(s suite[Tx]) {
			for range 3 {
				took, taken := tally(s, race(20, func(i int) error {
					return s.take(s.Context(), "lease", fmt.Sprintf("host/%d", i), time.Minute)
				}), errTaken)
				equal(s, "took it", 1, took)
				equal(s, "in vain", 19, taken)
				s.backdate(time.Minute)
			}
		}},
	}
}
