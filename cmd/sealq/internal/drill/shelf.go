package drill

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/sealq/sealq/jobs"
)

// listed is how many of the newest entries are looked through: a run's own, and what others are refused meanwhile.
const listed = 5000

// shelf looks shots up in quarantine, with one listing for all who ask at the same time.
type shelf struct {
	quarantine Quarantine
	now        func() time.Time

	mu      sync.Mutex
	taken   time.Time // when the listing began
	entries []jobs.Refused
}

// find returns the ID of the entry that bears the mark, as the quarantine was after since; "" where there is none.
func (s *shelf) find(ctx context.Context, mark string, since time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taken.After(since) {
		began := s.now()
		entries, err := s.quarantine.QuarantineList(ctx, listed)
		if err != nil {
			return "", err
		}
		s.taken, s.entries = began, entries
	}
	for _, e := range s.entries {
		if strings.Contains(e.TaskID, mark) || strings.Contains(e.Kind, mark) {
			return e.ID, nil
		}
	}
	return "", nil
}
