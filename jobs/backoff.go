package jobs

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 5 * time.Second
	backoffMost  = 15 * time.Minute
)

func exponentialBackoff(failures int) time.Duration {
	d := backoffMost
	if shift := max(failures, 1) - 1; shift < 8 { // 5 s << 8 is past the most
		d = min(backoffFirst<<shift, backoffMost)
	}
	return WithJitter(d)
}

// WithJitter adds up to a quarter to d, so that what failed together does not come back together.
func WithJitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d + rand.N(d/4+1) //nolint:gosec // spreads retries; nothing secret depends on it
}
