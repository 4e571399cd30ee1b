package trips

import "github.com/redis/go-redis/v9"

// ShareYielding is Share with the moment in which others join a trip; gathered says how many have.
func ShareYielding(r redis.UniversalClient, yield func()) (_ redis.UniversalClient, gathered func() int) {
	s := share(r, yield)
	return s, func() (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, t := range s.gathering {
			n += len(t.cmds)
		}
		return n
	}
}

// Spread makes c, which Share made, gather by queue as it does on a cluster.
func Spread(c redis.UniversalClient) { c.(*shared).spread = true }

// ProcessOf is Process on the trips of c, which Share made.
func ProcessOf(c redis.UniversalClient) redis.ProcessHook { return c.(*shared).process }
