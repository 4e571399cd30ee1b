package authworker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/store/postgres"
)

// swept is a store whose registrations are in PostgreSQL, and notes how long the batches took that failed. before is called before each batch.
type swept struct {
	backend
	pg     *postgres.DB
	before func(batch int)

	mu     sync.Mutex
	n      int
	failed []failedBatch
}

type failedBatch struct {
	took time.Duration
	err  error
}

func (s *swept) SweepBatch(ctx context.Context, w sweep.Walk, limit int) (sweep.Batch, error) {
	if w.Part != sweep.Registrations {
		return s.backend.SweepBatch(ctx, w, limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before(s.n)
	s.n++
	began := time.Now()
	b, err := s.pg.SweepBatch(ctx, w, limit)
	if err != nil {
		s.failed = append(s.failed, failedBatch{time.Since(began), err})
	}
	return b, err
}

func (s *swept) failures() []failedBatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func TestASweepAtALockedTableGivesUpSoonAndItsJobGoesOnWhenItComesAgain(t *testing.T) {
	t.Parallel()
	url := testservers.Postgres(t)
	pg, err := postgres.Open(t.Context(), url)
	check(t, err)
	t.Cleanup(func() { check(t, pg.Close()) })
	_, err = pg.Migrate(t.Context())
	check(t, err)
	conn, err := pgx.Connect(t.Context(), url)
	check(t, err)
	t.Cleanup(func() { check(t, conn.Close(context.WithoutCancel(t.Context()))) })
	_, err = conn.Exec(t.Context(), `
		INSERT INTO pending_users (id, email_norm, email, password_hash, nonce, generation, expires_at)
		SELECT gen_random_uuid(), n::text, '', '', '0123456789abcdef', 1, now() - interval '1 day' + n * interval '1 ms' FROM generate_series(1, 1200) n`)
	check(t, err)

	var migration pgx.Tx // of somebody who is about to change the table
	store := &swept{pg: pg, before: func(batch int) {
		if batch != 1 { // the second, in the middle of the sweep
			return
		}
		tx, err := conn.Begin(t.Context())
		if err == nil {
			_, err = tx.Exec(t.Context(), "LOCK TABLE pending_users")
		}
		if migration = tx; err != nil {
			t.Errorf("lock the table: %v", err)
		}
	}}
	s := newSystem(t, nil, func(b backend) backend { store.backend = b; return store })
	s.enqueue(t, authjobs.ExpirePending().With(authjobs.Sweep{Tick: "t"}))
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	var waiting []*asynq.TaskInfo
	eventually(t, "the job waits to be tried again", func() bool {
		waiting, err = inspector.ListRetryTasks(jobs.QueueMaintenance)
		return err == nil && len(waiting) == 1
	})
	if !strings.Contains(waiting[0].LastErr, "somebody else has locked the table") {
		t.Errorf("it failed of %q", waiting[0].LastErr)
	}
	failed := store.failures()
	if len(failed) != 1 || failed[0].took < 90*time.Millisecond || failed[0].took > 5*time.Second {
		t.Errorf("batches that failed: want one, after 100 ms or little more, got %v", failed)
	}
	left := func() (n int) {
		check(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pending_users").Scan(&n))
		return n
	}
	store.mu.Lock() // migration is the batch's
	held := migration
	store.mu.Unlock()
	check(t, held.Rollback(t.Context()))
	if n := left(); n != 700 {
		t.Errorf("%d are left while it waits, want 700", n)
	}
	eventually(t, "the job comes again, and goes on", func() bool {
		if _, err := inspector.RunAllRetryTasks(jobs.QueueMaintenance); err != nil {
			return false
		}
		return left() == 0 && s.text(t, `SELECT state FROM outbox`) == string(jobs.RowDone)
	})
	p, err := s.db.SweepProgress(t.Context(), string(authjobs.KindExpirePending))
	check(t, err)
	if !p.Ended || p.Done != 1200 || p.Tick != "t" {
		t.Errorf("progress: %+v", p)
	}
}
