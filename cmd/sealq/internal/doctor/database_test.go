package doctor_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/doctor"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
)

func TestAHealthyDatabaseHasNoProblem(t *testing.T) {
	t.Parallel()
	for name, on := range map[string]func(*testing.T) *patient{"PostgreSQL": onPostgres, "SQLite": onSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := on(t)
			r := p.run(t)
			without(t, r)
			for _, name := range []string{"connection", "migrations", "version", "clock", "outbox waiting", "outbox ended", "quarantine", "audit log"} {
				says(t, findIn(t, r, "database", name), doctor.OK, "", "")
			}
			says(t, findIn(t, r, "database", "schedules"), doctor.Warning, "there are no schedules", "sealq scheduler")
		})
	}
}

// record puts n jobs into the outbox.
func (p *patient) record(t *testing.T, n int) {
	t.Helper()
	def := jobs.Define[int]("test:note", jobs.Policy{Queue: "mail"})
	for i := range n {
		_, err := p.db.Enqueue(t.Context(), def.With(i))
		check(t, err)
	}
}

// keep puts a refused task into the quarantine.
func (p *patient) keep(t *testing.T, r jobs.Refused, b quarantine.Budgets) {
	t.Helper()
	db, ok := p.db.Postgres()
	if !ok {
		t.Fatal("this test is about PostgreSQL")
	}
	r.ReceivedAt = time.Now()
	_ = db.KeepWithin(t.Context(), r, b)
}

func TestWhatIsWrongWithTheDatabaseIsTold(t *testing.T) {
	t.Parallel()
	sql := func(statements string) func(t *testing.T, p *patient) {
		return func(t *testing.T, p *patient) { t.Helper(); p.sql(t, statements) }
	}
	waits := func(since string) func(t *testing.T, p *patient) {
		return func(t *testing.T, p *patient) {
			t.Helper()
			p.record(t, 2)
			p.sql(t, "UPDATE outbox SET next_at = now() - interval '"+since+"', not_before = now() - interval '"+since+"'")
		}
	}
	full := quarantine.Budgets{Unverified: quarantine.Budget{Entries: 1, Bytes: 10_000}, Moved: quarantine.Budget{Entries: 1, Bytes: 10_000}, Authentic: quarantine.Budget{Entries: 1, Bytes: 10_000}}
	for sentence, test := range map[string]struct {
		harm            func(t *testing.T, p *patient)
		check           string
		status          doctor.Status
		message, advice string
	}{
		"it is not there":                {func(t *testing.T, p *patient) { t.Helper(); p.named("postgres://nobody@" + closedPort(t) + "/x") }, "connection", doctor.Problem, "cannot reach the database at the test's place (--database-url): connection refused", "start it"},
		"it was never migrated":          {func(t *testing.T, p *patient) { t.Helper(); p.named(testservers.Postgres(t)) }, "migrations", doctor.Problem, "lacks 23 migrations", "sealq migrate up"},
		"what cannot be seen of it then": {func(t *testing.T, p *patient) { t.Helper(); p.named(testservers.Postgres(t)) }, "outbox waiting", doctor.Skipped, "not up to date", ""},
		"the role is a superuser":        {func(*testing.T, *patient) {}, "role", doctor.Warning, "is a superuser", "CREATE ROLE"},
		"its clock is off":               {func(_ *testing.T, p *patient) { p.Now = func() time.Time { return time.Now().Add(-8 * time.Second) } }, "clock", doctor.Warning, "ahead of this host's", "chrony"},
		"its clock is wrong":             {func(_ *testing.T, p *patient) { p.Now = func() time.Time { return time.Now().Add(20 * time.Second) } }, "clock", doctor.Problem, "leases end while tasks run", "chrony"},
		"everybody may enqueue":          {sql("GRANT EXECUTE ON FUNCTION sealq_enqueue(text, jsonb, interval, text) TO PUBLIC"), "grants", doctor.Problem, "rights on sealq_enqueue", "FROM PUBLIC"},
		"everybody reads users":          {sql("GRANT SELECT ON users TO PUBLIC"), "grants", doctor.Problem, "rights on users", "FROM PUBLIC"},
		"a role writes the outbox":       {func(t *testing.T, p *patient) { t.Helper(); p.role(t, "GRANT INSERT ON outbox TO %s") }, "grants", doctor.Warning, "can write the outbox itself", "sealq migrate grants"},
		"a role with grants writes the outbox": {func(t *testing.T, p *patient) {
			t.Helper()
			role := p.role(t, "GRANT INSERT ON outbox TO %s")
			db, _ := p.db.Postgres()
			check(t, db.GrantEnqueue(t.Context(), role, "mail:confirmation"))
		}, "grants", doctor.Problem, "they can write the tables themselves", "take from them INSERT"},
		"jobs wait":          {waits("3 minutes"), "outbox waiting", doctor.Warning, "a test:note, has been due for 3m", "sealq worker"},
		"jobs wait for long": {waits("3 hours"), "outbox waiting", doctor.Problem, "has been due for 3h", "sealq worker"},
		"jobs died": {func(t *testing.T, p *patient) {
			t.Helper()
			p.record(t, 3)
			p.sql(t, "UPDATE outbox SET state = 'dead', ended_at = now()")
		}, "outbox ended", doctor.Warning, "3 jobs died, 0 were refused, 0 expired", "sealq tasks reissue"},
		"tasks are lost again and again": {func(t *testing.T, p *patient) {
			t.Helper()
			p.record(t, 1)
			p.sql(t, "UPDATE outbox SET attempts = 5")
		}, "outbox ended", doctor.Problem, "Redis loses the tasks of 1 unfinished job again and again", "who else writes to Redis"},
		"the quarantine is full": {func(t *testing.T, p *patient) {
			t.Helper()
			p.Budgets = full
			p.keep(t, jobs.Refused{ID: "a", Reason: signing.ReasonBadSignature}, full)
		}, "quarantine", doctor.Warning, "the quarantine is 100% full", "sealq quarantine purge"},
		"its reserve is full": {func(t *testing.T, p *patient) {
			t.Helper()
			p.Budgets = full
			p.keep(t, jobs.Refused{ID: "a", Reason: signing.ReasonBadPayload, Authentic: true}, full)
		}, "quarantine", doctor.Problem, "reserve for signed tasks is full", "--authentic"},
		"tasks found no room in it": {func(t *testing.T, p *patient) {
			t.Helper()
			db, _ := p.db.Postgres()
			check(t, db.CountOverflow(t.Context(), map[signing.Reason]quarantine.Overflow{signing.ReasonBadSignature: {Entries: 7, Bytes: 7}}))
		}, "quarantine", doctor.Warning, "7 refused tasks found no room", "purge --overflow"},
		"a schedule makes no ticks": {scheduled("last_due_at = now() - interval '1 hour'"), "schedules", doctor.Problem, "nothing has come of it since it was due 5", "sealq scheduler"},
		"a schedule never succeeds": {scheduled("anchor = now() - interval '1 day', last_due_at = now(), last_tick_at = now()"), "schedules", doctor.Problem, "none of its jobs has succeeded", "sealq worker"},
		"a schedule is paused":      {scheduled("paused = true"), "schedules", doctor.Warning, "paused", ""},
		"a schedule cannot be read": {scheduled("cron = 'never'"), "schedules", doctor.Problem, "not a cron expression", "*/5"},
		"a schedule is new":         {scheduled("anchor = now()"), "schedules", doctor.OK, "none of its jobs had to succeed yet", ""},
		"a schedule's success is old": {func(t *testing.T, p *patient) {
			t.Helper()
			scheduled("anchor = now() - interval '1 day', last_due_at = now(), last_tick_at = now()")(t, p)
			p.record(t, 1)
			p.sql(t, `UPDATE outbox SET state = 'done', ended_at = now() - interval '2 hours';
				INSERT INTO ticks (schedule, due_at, row_id) SELECT 'sweep', now() - interval '2 hours', id FROM outbox`)
		}, "schedules", doctor.Problem, "its last success was 2h0m ago", "sealq worker"},
		"the audit log was changed": {func(t *testing.T, p *patient) {
			t.Helper()
			db, _ := p.db.Postgres()
			_, err := db.ChainAudit(t.Context(), 10)
			check(t, err)
			p.sql(t, "INSERT INTO audit_log (actor, action, subject, detail) VALUES ('a', 'b', 'c', '{}')")
			_, err = db.ChainAudit(t.Context(), 10)
			check(t, err)
			p.sql(t, "ALTER TABLE audit_log DISABLE TRIGGER USER; UPDATE audit_log SET actor = 'somebody else'")
		}, "audit log", doctor.Problem, "the audit chain is broken at position 1", "tampered with"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			p := onPostgres(t)
			test.harm(t, p)
			says(t, p.finds(t, "database", test.check), test.status, test.message, test.advice)
		})
	}
}

// scheduled has one schedule, of which something is otherwise.
func scheduled(changes string) func(t *testing.T, p *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		plan := jobs.SchedulePlan{Name: "sweep", Cron: "*/5 * * * *", CatchUp: jobs.CatchUpLatest, Source: jobs.FromCode}
		check(t, p.db.PlaceSchedules(t.Context(), jobs.Placement{Plans: []jobs.SchedulePlan{plan}, Actor: "test"}))
		p.sql(t, "UPDATE schedules SET "+changes)
	}
}

func TestWhichTroubleAScheduleIsInIsSaidInAWord(t *testing.T) {
	t.Parallel()
	for trouble, change := range map[string]string{
		"overdue": "last_due_at = now() - interval '1 hour'", "failing": "anchor = now() - interval '1 day', last_due_at = now(), last_tick_at = now()",
		"unusable": "cron = 'never'", "paused": "paused = true", "": "anchor = now()",
	} {
		p := onPostgres(t)
		scheduled(change)(t, p)
		if got := p.finds(t, "database", "schedules"); got.Trouble != trouble {
			t.Errorf("with %s its trouble is %q, want %q: %+v", change, got.Trouble, trouble, got)
		}
	}
}

// role makes a role with a grant, gone when t ends.
func (p *patient) role(t *testing.T, grant string) string {
	t.Helper()
	role := "sealq_doctor_" + strings.ToLower(rand.Text())
	p.sql(t, "CREATE ROLE "+role+" LOGIN; "+fmt.Sprintf(grant, role))
	t.Cleanup(func() {
		db, _ := p.db.Postgres()
		_ = db.RevokeEnqueue(context.WithoutCancel(t.Context()), role)
	})
	url := p.url
	t.Cleanup(func() { (&patient{url: url}).drop(t, role) })
	return role
}

func TestOfSQLiteNoRolesAreToldAndTheHostsClock(t *testing.T) {
	t.Parallel()
	p := onSQLite(t)
	says(t, p.finds(t, "database", "clock"), doctor.OK, "SQLite goes by this host's clock", "")
	for _, f := range p.run(t).Checks {
		if f.Check == "role" || f.Check == "grants" {
			t.Errorf("of a database without roles: %+v", f)
		}
	}
}
