package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/store/postgres"
)

var noted = jobs.Define[string]("note", jobs.Policy{})

// placed puts schedules into the book that were due a minute ago, and gives a tick of each, whose job is unique by the schedule's name.
func placed(t *testing.T, db *postgres.DB, raw *pgxpool.Pool, names ...string) []jobs.Tick {
	t.Helper()
	var plans []jobs.SchedulePlan
	for _, name := range names {
		plans = append(plans, jobs.SchedulePlan{Name: name, Cron: "@every 1m", Kind: "note", Args: `""`, CatchUp: jobs.CatchUpLatest, Source: jobs.FromCode})
	}
	if err := db.PlaceSchedules(t.Context(), jobs.Placement{Plans: plans, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	exec(t, raw, "UPDATE schedules SET last_due_at = last_due_at - interval '1 hour', anchor = anchor - interval '1 hour'")
	book, err := db.ScheduleBook(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var ticks []jobs.Tick
	for _, s := range book.Schedules {
		due := jobs.Due{Schedule: s.Name, Revision: s.Revision, At: s.LastDueAt.Add(time.Minute), Since: s.LastDueAt}
		ticks = append(ticks, jobs.Tick{Due: due, Job: noted.With(s.Name, jobs.UniqueKey(s.Name))})
	}
	return ticks
}

// soon is a context in which nobody waits as long as a transaction that stays open.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAnApplicationsOpenTransactionHoldsUpTheTicksThatNeedItsKeyAndNoOthers(t *testing.T) {
	t.Parallel()
	for sentence, held := range map[string]func(ctx context.Context, db *postgres.DB, tx pgx.Tx) error{
		"it has enqueued a job with the unique key": func(ctx context.Context, db *postgres.DB, tx pgx.Tx) error {
			_, err := db.EnqueueTx(ctx, tx, noted.With("the application's", jobs.UniqueKey("c")))
			return err
		},
		"it has locked the schedule": func(ctx context.Context, _ *postgres.DB, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SELECT FROM schedules WHERE name = 'c' FOR UPDATE")
			return err
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			ticks := placed(t, db, raw, "a", "b", "c", "d", "e")
			err := db.InTx(t.Context(), func(tx pgx.Tx) error {
				if err := held(t.Context(), db, tx); err != nil {
					return err
				}
				for range 2 { // also when the others have been made
					made, err := db.MakeTicks(soon(t), ticks)
					if err != nil {
						t.Errorf("MakeTicks: %v", err)
						return errUndo
					}
					for i, m := range made {
						if blocked := i == 2; blocked != errors.Is(m.Err, jobs.ErrTickBlocked) || !blocked && (m.Err != nil || m.LastDueAt != ticks[i].At) {
							t.Errorf("%s: %+v", ticks[i].Schedule, m)
						}
					}
				}
				alone, err := db.MakeTicks(soon(t), ticks[2:3])
				if err != nil || !errors.Is(alone[0].Err, jobs.ErrTickBlocked) {
					t.Errorf("alone: %+v, %v", alone, err)
				}
				return errUndo
			})
			if !errors.Is(err, errUndo) {
				t.Fatal(err)
			}
			made, err := db.MakeTicks(soon(t), ticks)
			if err != nil || !made[2].Made {
				t.Errorf("when that is over: %+v, %v", made, err)
			}
			if got := scalar(t, raw, "SELECT string_agg(schedule, '' ORDER BY schedule) FROM ticks"); got != "abcde" {
				t.Errorf("ticks of %s", got)
			}
			if got := scalar(t, raw, "SELECT current_setting('lock_timeout')"); got != "0" {
				t.Errorf("lock_timeout: %s", got)
			}
		})
	}
}

func TestThoseThatAreManyAndBlockedLeaveTheRestOfTheBatchToTheNext(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("s%02d", i))
	}
	ticks := placed(t, db, raw, names...)
	err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT FROM schedules WHERE name < 's29' FOR UPDATE"); err != nil {
			return err
		}
		began := time.Now()
		made, err := db.MakeTicks(soon(t), ticks)
		if err != nil {
			return err
		}
		blocked := 0
		for _, m := range made {
			if errors.Is(m.Err, jobs.ErrTickBlocked) {
				blocked++
			}
		}
		// 29 of them would be 2.9 s; the last is neither made nor refused.
		if blocked == 0 || blocked > 12 || made[29] != (jobs.TickMade{}) {
			t.Errorf("%d blocked after %v, the last %+v", blocked, time.Since(began), made[29])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestASchedulerTicksTheOthersWhileOneWaitsForAnApplication(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	var all []scheduler.Schedule
	for _, name := range []string{"a", "held", "z"} {
		all = append(all, scheduler.Schedule{Name: name, Cron: "@every 1s", Job: func(tick string) jobs.Job {
			if name == "held" {
				return noted.With(tick, jobs.UniqueKey("one"))
			}
			return noted.With(tick)
		}})
	}
	made := make(chan string, 1000)
	var log bytes.Buffer
	s, err := scheduler.New(db, scheduler.Config{Schedules: all, Logger: slog.New(slog.NewTextHandler(&log, nil)), OnTick: func(m scheduler.Made) { made <- m.Schedule }})
	if err != nil {
		t.Fatal(err)
	}
	ticked := make(map[string]int)
	reaches := func(what string, holds func() bool) {
		t.Helper()
		for ctx := soon(t); !holds(); {
			select {
			case name := <-made:
				ticked[name]++
			case <-ctx.Done():
				t.Fatalf("%s: %v", what, ticked)
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	commit(t, db, func(tx pgx.Tx) error {
		if _, err := db.EnqueueTx(ctx, tx, noted.With("the application's", jobs.UniqueKey("one"))); err != nil {
			return err
		}
		go func() { ended <- s.Run(ctx) }()
		reaches("the others go on", func() bool { return ticked["a"] >= 4 && ticked["z"] >= 4 && ticked["held"] == 0 })
		return nil
	})
	exec(t, raw, "UPDATE outbox SET state = 'done', ended_at = now(), unique_key = NULL WHERE unique_key IS NOT NULL")
	reaches("it goes on when the application's job is done", func() bool { return ticked["held"] > 0 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), `"tick waits for a transaction that is open elsewhere" schedule=held`); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

func TestSettlingPassesOverASchedulesTicksThatSomebodyHolds(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	if _, err := db.MakeTicks(t.Context(), placed(t, db, raw, "a", "b", "c")); err != nil {
		t.Fatal(err)
	}
	exec(t, raw, "UPDATE outbox SET state = 'done', ended_at = now(), unique_key = NULL")
	for _, step := range []struct{ lock, settled string }{{"SELECT FROM schedules WHERE name = 'b' FOR UPDATE", "a c"}, {"SELECT", "a b c"}} {
		commit(t, db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), step.lock); err != nil {
				return err
			}
			if _, err := db.SettleTicks(soon(t), 10); err != nil {
				t.Error(err)
			}
			return nil
		})
		if got := scalar(t, raw, "SELECT string_agg(schedule, ' ' ORDER BY schedule) FROM ticks WHERE outcome = 'done'"); got != step.settled {
			t.Errorf("settled: want those of %s, got %s", step.settled, got)
		}
	}
}

// Who runs a schedule in a transaction that stays open is in nobody's way.
func TestARunByHandThatIsNotCommittedHoldsUpNoTickOfItsSchedule(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	ticks := placed(t, db, raw, "a")
	commit(t, db, func(tx pgx.Tx) error {
		run := jobs.Tick{Due: ticks[0].Due, Job: noted.With("by hand")}
		run.At = run.At.Add(time.Microsecond)
		if _, err := db.RunSchedule(t.Context(), tx, run); err != nil {
			return err
		}
		made, err := db.MakeTicks(soon(t), ticks)
		if err != nil || !made[0].Made {
			t.Errorf("%+v, %v", made, err)
		}
		return nil
	})
}

// Who settles ticks has read a row as dead while another reissues it: what is settled then is not the old end.
func TestATickWhoseRowIsReissuedMeanwhileIsNotSettled(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	for _, statement := range []string{
		`INSERT INTO outbox (id, kind, queue, payload, headers, retries, state, not_before, next_at, expires_at, ended_at)
		 VALUES ('0199a1b2-0000-7000-8000-000000000001', 'k', 'q', '{}', '[]', 1, 'dead', now(), now(), now() + interval '1 day', now())`,
		`INSERT INTO schedules (name, cron, anchor, last_due_at) VALUES ('night', '', now(), now())`,
		`INSERT INTO ticks (schedule, due_at, row_id) VALUES ('night', now(), '0199a1b2-0000-7000-8000-000000000001')`,
	} {
		exec(t, raw, statement)
	}
	settled := make(chan error, 1)
	err := pgx.BeginFunc(t.Context(), raw, func(tx pgx.Tx) error {
		for _, statement := range []string{postgres.ReissueRowSQL, postgres.ReopenTickSQL} {
			if _, err := tx.Exec(t.Context(), statement, "0199a1b2-0000-7000-8000-000000000001"); err != nil {
				return err
			}
		}
		go func() {
			n, err := db.SettleTicks(t.Context(), 10)
			if err == nil && n != 0 {
				err = fmt.Errorf("it settled %d", n)
			}
			settled <- err
		}()
		waitUntilBlocked(t.Context(), t, raw)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-settled; err != nil {
		t.Error(err)
	}
	if got := scalar(t, raw, "SELECT outcome || '.' FROM ticks"); got != "." {
		t.Errorf("the tick's outcome is %q", got)
	}
}
