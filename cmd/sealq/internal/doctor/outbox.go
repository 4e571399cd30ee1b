package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/scheduler"
)

func outboxChecks() []check {
	return []check{
		{groupDatabase, "outbox waiting", tables, outboxWaiting},
		{groupDatabase, "outbox ended", tables, outboxEnded},
		{groupDatabase, "quarantine", tables, quarantineRoom},
		{groupDatabase, "schedules", tables, schedules},
		{groupDatabase, "audit log", tables, auditChain},
	}
}

const databaseLog = "look at the database's log"

const (
	waitsLong    = 2 * time.Minute // relays poll in seconds
	waitsTooLong = 10 * time.Minute
	lately       = 24 * time.Hour
	// calmAttempts is up to which attempt a row is restored at once; above that somebody is at work in Redis.
	calmAttempts = 3
)

func outboxWaiting(ctx context.Context, e *env) []Finding {
	backlog, err := e.db.OutboxBacklog(ctx)
	if err != nil {
		return failed(err, "count the outbox", databaseLog)
	}
	var rows int64
	oldest := jobs.Backlog{}
	for _, b := range backlog {
		rows += b.Rows
		if b.State == jobs.RowQueued && b.Oldest > oldest.Oldest {
			oldest = b
		}
	}
	const advice = "see that a `sealq worker` runs which can reach Redis and knows the kind: it relays the outbox; its /readyz says what holds it up"
	text := fmt.Sprintf("the oldest job that waits in the outbox, a %s, has been due for %s", shown(string(oldest.Kind)), age(oldest.Oldest))
	switch {
	case oldest.Oldest > waitsTooLong:
		return say(Problem, advice, "%s", text)
	case oldest.Oldest > waitsLong:
		return say(Warning, advice, "%s", text)
	}
	return fine("%s unfinished, none waits for longer than it should", plural(rows, "job"))
}

func outboxEnded(ctx context.Context, e *env) []Finding {
	t, err := e.db.OutboxTrouble(ctx, lately, calmAttempts)
	if err != nil {
		return failed(err, "look for jobs that ended badly", databaseLog)
	}
	var all []Finding
	if t.Restored > 0 {
		all = append(all, say(Problem, "find out who else writes to Redis, and take that from them (`sealq redis-acl`); docs/runbooks/stuck-task.md",
			"Redis loses the tasks of %s again and again: each was restored more than %d times", plural(t.Restored, "unfinished job"), calmAttempts-1)...)
	}
	if t.Dead+t.Refused+t.Expired > 0 {
		all = append(all, say(Warning, "look for their cause in the workers' logs and in `sealq quarantine list`; what is to run after all: `sealq tasks reissue QUEUE ID`",
			"in the last day %d jobs died, %d were refused, %d expired", t.Dead, t.Refused, t.Expired)...)
	}
	if len(all) == 0 {
		return fine("no job died, was refused or expired in the last day")
	}
	return all
}

// fullish is the part of a budget at which the quarantine is to be looked after, in percent.
const fullish = 80

func quarantineRoom(ctx context.Context, e *env) []Finding {
	usage, err := e.db.QuarantineUsage(ctx)
	if err != nil {
		return failed(err, "ask how full the quarantine is", databaseLog)
	}
	var counted int64
	for _, o := range usage.Overflow {
		counted += o.Entries
	}
	budgets := e.Budgets
	reserve := budgetOf(budgets.Authentic, quarantine.DefaultBudgets().Authentic)
	moved := budgetOf(budgets.Moved, reserve)
	forged := budgetOf(budgets.Unverified, quarantine.DefaultBudgets().Unverified)
	const purge = "look at it, `sealq quarantine list`, then `sealq quarantine purge` (docs/runbooks/quarantine.md)"
	if full := percent(usage.Authentic, reserve); full >= 100 {
		return say(Problem, purge+", with --authentic", "the quarantine's reserve for signed tasks is full: such tasks stay in their queues and come again")
	}
	if full := max(percent(usage.Authentic, reserve), percent(usage.Moved, moved), percent(usage.Unverified, forged)); full >= fullish {
		return say(Warning, purge, "the quarantine is %d%% full: forged tasks that find no room are counted and not kept (--quarantine-budget)", full)
	}
	if counted > 0 {
		return say(Warning, "find out who writes to Redis; when that is done, `sealq quarantine purge --overflow` forgets the count (docs/runbooks/quarantine.md)",
			"%s found no room in the quarantine, and were counted only", plural(counted, "refused task"))
	}
	return fine("%s kept, %d%% of the room", plural(usage.Unverified.Entries+usage.Moved.Entries+usage.Authentic.Entries, "refused task"),
		max(percent(usage.Authentic, reserve), percent(usage.Moved, moved), percent(usage.Unverified, forged)))
}

func budgetOf(given, zero quarantine.Budget) quarantine.Budget {
	return quarantine.Budget{Entries: cmp.Or(max(given.Entries, 0), zero.Entries), Bytes: cmp.Or(max(given.Bytes, 0), zero.Bytes)}
}

func percent(u quarantine.Used, b quarantine.Budget) int64 {
	return max(100*u.Entries/b.Entries, 100*u.Bytes/b.Bytes)
}

func schedules(ctx context.Context, e *env) []Finding {
	reports, now, err := e.db.ScheduleReports(ctx)
	if err != nil {
		return failed(err, "list the schedules", databaseLog)
	}
	if len(reports) == 0 {
		return say(Warning, "start `sealq scheduler` or `sealq serve`: it places them", "there are no schedules: nothing expires registrations nor lifts locks")
	}
	var all []Finding
	for _, r := range reports {
		standing := scheduler.Judge(r, nil, now)
		found := about(shown(r.Name), scheduleIs(standing, now))
		for i := range found {
			if found[i].Trouble = string(standing.Trouble); standing.Trouble == "" && standing.Paused {
				found[i].Trouble = "paused"
			}
		}
		all = append(all, found...)
	}
	return all
}

func scheduleIs(s scheduler.Standing, now time.Time) []Finding {
	switch s.Trouble {
	case scheduler.Unusable:
		return say(Problem, "give it an expression and a zone that parse, such as */5 * * * *: `sealq schedules add --replace`", "%s", s.Detail)
	case scheduler.Overdue:
		return say(Problem, "start `sealq scheduler` or `sealq serve`, and look into its log", "%s", s.Detail)
	case scheduler.Failing:
		return say(Problem, "see that a `sealq worker` runs, and look into its log and `sealq schedules history`", "%s", s.Detail)
	case scheduler.Long:
		return say(Warning, "see what holds it up: `sealq schedules history`, and the worker's log", "%s", s.Detail)
	}
	switch {
	case s.Paused:
		return say(Warning, "let it go on when the reason is gone: `sealq schedules resume`", "it is paused")
	case s.LastSuccessAt.IsZero():
		return fine("next at %s; none of its jobs had to succeed yet", s.NextAt.UTC().Format(time.RFC3339))
	}
	return fine("its last success was %s ago", age(now.Sub(s.LastSuccessAt)))
}

func auditChain(ctx context.Context, e *env) []Finding {
	head, err := audit.Verify(ctx, e.db, audit.Head{})
	switch {
	case errors.Is(err, audit.ErrBroken):
		return say(Problem, "treat the database as tampered with: keep a copy, compare with the heads in the processes' logs, and restore", "%s", oneLine(err.Error()))
	case isTimeout(err):
		return skipped("sound up to link %d; it is too long to be verified to its end in this time", head.Position)
	case err != nil:
		return failed(err, "verify the audit log", databaseLog)
	}
	return fine("the audit log's %s are as they were written", plural(head.Position, "link"))
}
