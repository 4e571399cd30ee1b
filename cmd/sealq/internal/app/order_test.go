package app_test

import (
	"testing"
)

// Each of these would stop the queue mail, or the recovery of its tasks, until somebody sees to it.
func TestAWorkerKeepsItsQueuesInOrder(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		const noise = "\xff\xff"
		check(t, s.redis.Set(t.Context(), "asynq:{mail}:lease", "squatted", 0).Err())
		check(t, s.redis.HSet(t.Context(), "asynq:{mail}:t:poison", "msg", noise, "state", "active").Err())
		check(t, s.redis.LPush(t.Context(), "asynq:{mail}:active", "poison", "nothing").Err())
		s.work(t)
		s.register(t, "user@example.org")
		s.oneMailEach(t, []string{"user@example.org"})
		list, err := s.db.QuarantineList(t.Context(), 10)
		check(t, err)
		if len(list) != 1 || list[0].TaskID != "poison" || list[0].Queue != "mail" {
			t.Fatalf("in quarantine: %+v", list)
		}
		entry, err := s.db.QuarantineShow(t.Context(), list[0].ID)
		check(t, err)
		if string(entry.Payload) != noise {
			t.Errorf("its bytes are %q", entry.Payload)
		}
	})
}
