// Package storetest is the conformance suite of sealq's database drivers: every sentence of the interfaces that they
// implement, races and hostile bytes included. Both drivers pass the same suite.
//
// It knows no database: what it cannot do through the driver, the driver's Harness does with raw SQL. It never sleeps;
// time passes by moving what is stored into the past.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/requests"
	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"            //nolint:depguard // the suite holds drivers to their consumers, so it knows them
	"github.com/sealq/sealq/worker/authworker" //nolint:depguard // the suite holds drivers to their consumers, so it knows them
)

// Store is a driver as all its consumers together see it.
type Store[Tx any] interface {
	accounts.Store[Tx]
	jobs.Outbox[Tx]
	relay.Rows
	worker.Ledger[Tx]
	worker.Effects
	worker.Outbox
	worker.Quarantine
	quarantine.Store
	quarantine.Releases[Tx]
	quarantine.Purges[Tx]
	authworker.ConfirmationMails
	authworker.AccountMails
	authworker.MailOutcomes[Tx]
	authworker.Sweeps[Tx]
	// RemoveSuppression takes a normalised address off the list, or returns authjobs.ErrNotSuppressed.
	RemoveSuppression(ctx context.Context, tx Tx, emailNorm string) error
	// CountSuppressions says how many there are of those that the filter means.
	CountSuppressions(ctx context.Context, f authjobs.SuppressionFilter) (int64, error)
	// RemoveSuppressions takes up to limit of those that the filter means off the list, the oldest first, and says how many it took.
	RemoveSuppressions(ctx context.Context, tx Tx, f authjobs.SuppressionFilter, limit int) (int64, error)
	scheduler.Ticks
	Schedules[Tx]
	Rings
	Leases
	Audit[Tx]
	Rows
	Operations
	Histories
	operators.Store
	requests.Desk
	requests.Store
	Pages
	// InTx runs fn in a transaction and commits it. An error of fn rolls back and is returned as it is; a panic rolls back.
	InTx(ctx context.Context, fn func(tx Tx) error) error
}

// Rings is what the command line asks of a driver for the keys that sign.
type Rings interface {
	signing.Vault
	// ReportRing keeps what a process says of its ring, in place of what it said before, as of now by the database's clock;
	// r.SeenAt is ignored. It deletes reports that are a day old.
	ReportRing(ctx context.Context, r signing.Report) error
	// RingReports lists the reports that came in less than within ago, by the bytes of Process.
	RingReports(ctx context.Context, within time.Duration) ([]signing.Report, error)
	// HighestRingVersion returns the highest version that was ever saved or reported, 0 if there was none.
	HighestRingVersion(ctx context.Context) (uint64, error)
	// RowsNeedingKey counts the live registrations and tokens whose link was made with that key and whose mail was not accepted yet: the
	// key must not be destroyed before.
	RowsNeedingKey(ctx context.Context, kid string) (int, error)
}

// Schedules is what people ask of a driver about schedules, and what a watchdog does.
type Schedules[Tx any] interface {
	// AddSchedule enters a schedule that somebody defines at run time, anchored now. One of that name is jobs.ErrScheduleExists
	// or, with replace, becomes as the plan says; it keeps its source, its ticks and whether it is paused.
	AddSchedule(ctx context.Context, tx Tx, p jobs.SchedulePlan, replace bool) (replaced bool, err error)
	// PauseSchedule pauses or resumes a schedule, and says whether it was not so before. What was due while it was paused is over.
	PauseSchedule(ctx context.Context, tx Tx, schedule string, paused bool) (changed bool, err error)
	// RemoveSchedule deletes a schedule and its ticks. Their jobs stay.
	RemoveSchedule(ctx context.Context, tx Tx, schedule string) error
	// RunSchedule makes a tick that somebody asks for, of the schedule as the tick's revision has it, whatever its times are and
	// whether it is paused. It advances nothing. A tick of that time there is already is jobs.ErrScheduleMoved.
	RunSchedule(ctx context.Context, tx Tx, t jobs.Tick) (rowID string, err error)
	scheduler.Reports
	// TickHistory lists the last ticks of a schedule, the newest first, or returns jobs.ErrNoSuchSchedule.
	TickHistory(ctx context.Context, schedule string, limit int) ([]jobs.TickInfo, error)
}

// Leases are claims that end by themselves.
type Leases interface {
	// TakeLease takes the lease of that name for length from now, by the database's clock, and says whether holder has it: it
	// must be free, over, or holder's already, who renews it so. A length of 0 gives it back.
	TakeLease(ctx context.Context, name, holder string, length time.Duration) (bool, error)
}

// Audit is the record of who changed what.
type Audit[Tx any] interface {
	audit.Log[Tx]
	audit.Chain
	// ChainAudit links up to limit committed entries that are not linked yet, in the order of their IDs, and returns how many.
	// It is safe to be called at once by any number, of whom some may link nothing.
	ChainAudit(ctx context.Context, limit int) (linked int, err error)
	// AuditHead returns the head of the chain, the zero one where nothing is linked.
	AuditHead(ctx context.Context) (audit.Head, error)
}

// Pages are what the dashboard's pages ask of a driver.
type Pages interface {
	// RefusedPage lists up to limit entries that the query means, the newest first, without their payloads.
	RefusedPage(ctx context.Context, q quarantine.Query, limit int) ([]jobs.Refused, error)
	// OutboxPayload returns the arguments of an outbox row to the byte, or jobs.ErrNoSuchRow.
	OutboxPayload(ctx context.Context, id string) ([]byte, error)
	// AuditPage lists up to limit entries that the query means, the newest first, linked or not: what is not has no position yet.
	AuditPage(ctx context.Context, q audit.Query, limit int) ([]audit.Link, error)
}

// Operations are what the command line asks of a driver.
type Operations interface {
	// Ping says whether the database answers.
	Ping(ctx context.Context) error
	// Migrate brings the schema up to date and returns the names of the migrations that it ran, such as
	// "0001_accounts". Any number of processes may call it at once.
	Migrate(ctx context.Context) (ran []string, err error)
	// MigrationStatus lists the migrations that the database has and those that it lacks.
	MigrationStatus(ctx context.Context) (applied, pending []string, err error)
	// QuarantineList lists entries without their payload, the newest first.
	QuarantineList(ctx context.Context, limit int) ([]jobs.Refused, error)
	// QuarantineShow returns one entry with its payload, or jobs.ErrNoSuchEntry.
	QuarantineShow(ctx context.Context, id string) (jobs.Refused, error)
	// QuarantineUsage says how much there is of each class, and what was counted by CountOverflow.
	QuarantineUsage(ctx context.Context) (quarantine.Usage, error)
	// RefusedGroups counts what stands in quarantine and was not released, by queue and reason: up to limit groups, the most numerous first,
	// and else by the bytes of queue and reason.
	RefusedGroups(ctx context.Context, limit int) ([]jobs.RefusedGroup, error)
	// MatchRefused counts what PurgeRefused would delete, and deletes nothing.
	MatchRefused(ctx context.Context, f quarantine.Filter) (quarantine.Purged, error)
	// OutboxDepth counts the unfinished rows by state; every unfinished state has an entry. oldest is how long the
	// queued row that has been due the longest has waited, 0 where none is due.
	OutboxDepth(ctx context.Context) (unfinished map[jobs.RowState]int64, oldest time.Duration, err error)
	// OutboxTrouble counts the rows that ended within that time and were not done, by how they ended, and the unfinished ones that
	// are at more than that many attempts.
	OutboxTrouble(ctx context.Context, within time.Duration, attempts int) (jobs.Trouble, error)
	// Close ends every connection.
	Close() error
}

// Harness is one fresh, migrated database.
//
// The SQL that the suite passes to Exec and Scalar is portable: names of DESIGN's tables and columns, text literals,
// TRUE and FALSE. Columns that it relies on beyond the interfaces: users.created_at and users.disabled_at,
// schedules.anchor, paused and missed, ticks.outcome, outbox.state, cause, failures, unique_key and ended_at, mails.smtp_code, smtp_reply and cause,
// ledger.keep_until, signing_keys.written_at, ring_reports.process and check_values, audit_log's but for at,
// quarantine's, quarantine_totals.entries and authentic.
type Harness[Tx any] struct {
	DB Store[Tx]
	// Backdate moves every timestamp of every table into the past by d, but for the audit log's, which never changes.
	Backdate func(t testing.TB, d time.Duration)
	// Unguard takes away what keeps audit_log append-only, as whoever owns the database can.
	Unguard func(t testing.TB)
	// Try runs a portable statement, which may be refused.
	Try func(t testing.TB, statement string) error
	// Settle waits until the database has heard of every connection that the driver has cut off. Nil: it always has.
	Settle func(t testing.TB)
	// Exec runs a portable statement and commits it.
	Exec func(t testing.TB, statement string)
	// Scalar runs a portable query and returns its single value as text, "" for NULL or no row.
	Scalar func(t testing.TB, query string) string
}

// Run holds the driver to its contract. open gives a database of its own to every sub-test and closes it at its end.
// DB must be able to use 20 connections at once, if the database can.
func Run[Tx any](t *testing.T, open func(t *testing.T) Harness[Tx]) {
	t.Helper()
	for _, group := range []struct {
		name  string
		tests []test[Tx]
	}{
		{"operations", operationsTests[Tx]()},
		{"registrations", pendingTests[Tx]()},
		{"activations", activationTests[Tx]()},
		{"languages", languageTests[Tx]()},
		{"logins", loginTests[Tx]()},
		{"outbox", outboxTests[Tx]()},
		{"relay", relayTests[Tx]()},
		{"reconcile", reconcileTests[Tx]()},
		{"ledger", ledgerTests[Tx]()},
		{"quarantine", quarantineTests[Tx]()},
		{"budgets", budgetTests[Tx]()},
		{"refused in numbers", refusedGroupTests[Tx]()},
		{"releases", releaseTests[Tx]()},
		{"purges", purgeTests[Tx]()},
		{"mails", mailTests[Tx]()},
		{"tries of mails", mailAttemptTests[Tx]()},
		{"mails at a glance", mailGlanceTests[Tx]()},
		{"suppressions", suppressionTests[Tx]()},
		{"limits of mails", mailLimitTests[Tx]()},
		{"requests", requestTests[Tx]()},
		{"tokens", tokenTests[Tx]()},
		{"passwords", passwordTests[Tx]()},
		{"changes of address", emailTests[Tx]()},
		{"operators", operatorTests[Tx]()},
		{"logins of operators", operatorLoginTests[Tx]()},
		{"second factors and keys of operators", operatorFactorTests[Tx]()},
		{"what operators ask for", operatorRequestTests[Tx]()},
		{"pages", pageTests[Tx]()},
		{"devices", deviceTests[Tx]()},
		{"resends", resendTests[Tx]()},
		{"notices", noticeTests[Tx]()},
		{"account mails", accountMailTests[Tx]()},
		{"sweeps", sweepTests[Tx]()},
		{"who sweeps", deskTests[Tx]()},
		{"retention", retentionTests[Tx]()},
		{"schedules", scheduleTests[Tx]()},
		{"rings", ringTests[Tx]()},
		{"ring reports", reportTests[Tx]()},
		{"leases", leaseTests[Tx]()},
		{"renewals", renewalTests[Tx]()},
		{"audit", auditTests[Tx]()},
		{"orders", orderTests[Tx]()},
		{"bad input", badInputTests[Tx]()},
		{"times of answers", timingTests[Tx]()},
		{"histories", historyTests[Tx]()},
		{"single rows", rowTests[Tx]()},
		{"what is told of a mail", storyTests[Tx]()},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					s := suite[Tx]{TB: t, Harness: open(t)}
					test.run(s)
					s.soundOutbox()
				})
			}
		})
	}
}

// soundOutbox asks for what every row of the outbox is, whatever was done: not every database holds it to that itself.
func (s suite[Tx]) soundOutbox() {
	s.Helper()
	for _, rule := range []string{
		"retries >= 0 AND attempts >= 1 AND failures >= 0",
		"kind <> '' AND coalesce(unique_key, 'none') <> ''",
		"state IN ('queued', 'claimed', 'enqueued', 'done', 'refused', 'dead', 'expired')",
		"(state = 'claimed') = (lease_token IS NOT NULL)",
		"(state = 'claimed') = (lease_until IS NOT NULL)",
		"(state IN ('queued', 'claimed', 'enqueued')) = (ended_at IS NULL)",
		"(unique_key IS NULL OR ended_at IS NULL)",
	} {
		equal(s, "rows that break the rule "+rule, "0", s.scalar("SELECT count(*) FROM outbox WHERE NOT ("+rule+")"))
	}
}

// test is one sentence of the contract.
type test[Tx any] struct {
	name string
	run  func(s suite[Tx])
}

// suite is what a test works with: its T and its database.
type suite[Tx any] struct {
	testing.TB
	Harness[Tx]
}
