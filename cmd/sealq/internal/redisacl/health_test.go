package redisacl_test

import "sync"

// healthchecks notes what a server's health check says.
type healthchecks struct {
	mu  sync.Mutex
	err error
}

func (h *healthchecks) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.err = err
	}
}

func (h *healthchecks) last() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
