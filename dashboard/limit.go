package dashboard

import (
	"net/netip"
	"sync"
	"time"
)

// mostAddresses is how many addresses are remembered. When there are more, all are forgotten: names are counted in the database anyway.
const mostAddresses = 10_000

// limiter counts tries by address, a minute at a time.
type limiter struct {
	most int
	now  func() time.Time

	mu     sync.Mutex
	began  time.Time
	counts map[string]int
}

func newLimiter(most int, now func() time.Time) *limiter {
	return &limiter{most: most, now: now, counts: make(map[string]int)}
}

// allows counts one try, and says whether it may be made.
func (l *limiter) allows(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.began) >= time.Minute || len(l.counts) >= mostAddresses {
		l.began = now
		clear(l.counts)
	}
	from := network(address)
	l.counts[from]++
	return l.counts[from] <= l.most
}

// network is what counts as one address: of IPv6 the 64 bits that one connection to the internet has at least, every address in which its owner may use.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	a = plain(a)
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}
