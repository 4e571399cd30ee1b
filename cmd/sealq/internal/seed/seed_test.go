package seed_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/cmd/sealq/internal/embedded"
	"github.com/sealq/sealq/cmd/sealq/internal/seed"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
)

func TestADayOfLifeIsTheSameEachTimeAndFillsEverything(t *testing.T) {
	t.Parallel()
	end := time.Now().Truncate(time.Minute).Add(30 * time.Second) // nothing is due at the end, nor soon after
	told := fill(t, end)
	// Of each list so much at least, and of these sorts.
	for what, least := range map[string]int{
		"delivered": 20, "permanent": 3, "temporary": 2, "suppressed": 1, "limited": 1,
		"missing_signature": 6, "bad_signature": 5, "key_not_valid": 1, "bad_payload": 1, "kind_not_allowed": 1, "expired": 1,
		"key active": 1, "key published": 1, "key retiring": 1, "key revoked": 1,
		"operator viewer": 1, "operator operator": 2, "operator admin": 1, "request done": 2, "suppression": 2,
		"ticks lockouts:reset": 30, "ticks users:expire_pending": 10, "ticks retention:purge": 1, "schedule paused": 1, "schedule that missed some": 1,
		"entry account": 20, "entry keys": 4, "entry schedule": 4, "entry operator": 6,
	} {
		if told[what] < least {
			t.Errorf("%d of %s, want %d at least", told[what], what, least)
		}
	}
	if told["request failed"] > 0 {
		t.Errorf("%d of what operators asked for failed", told["request failed"])
	}
	if diff := cmp.Diff(told, fill(t, end)); diff != "" {
		t.Errorf("the same seed tells another story (-first +second):\n%s", diff)
	}
}

// fill counts what there is after the story.
func fill(t *testing.T, end time.Time) map[string]int {
	t.Helper()
	ctx, stack := t.Context(), start(t, t.TempDir())
	_, err := seed.Fill(ctx, seed.Config{Stack: stack, Audience: "test", From: "no-reply@dev.example", BaseURL: "http://localhost:1", End: end, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
	check(t, err)
	n, db := make(map[string]int), stack.Database
	mails, err := db.RecentMails(ctx, 1000)
	check(t, err)
	for _, m := range mails {
		switch {
		case m.HeldBy == authjobs.HeldBySuppressed:
			n["suppressed"]++
		case m.HeldBy != "":
			n["limited"]++
		default:
			n[string(m.Last.Outcome)]++
		}
		if age := end.Sub(m.FirstTry); age > seed.Day || age < -time.Minute {
			t.Errorf("a mail was first tried %s before the end", age)
		}
	}
	refused, err := db.QuarantineList(ctx, 1000)
	check(t, err)
	for _, r := range refused {
		n[string(r.Reason)]++
	}
	ring, err := stack.Ring.Load(ctx)
	check(t, err)
	for _, k := range ring.Keys() {
		n["key "+string(k.State)]++
	}
	people, err := db.Operators(ctx)
	check(t, err)
	for _, o := range people {
		n["operator "+string(o.Role)]++
	}
	asked, err := db.Requests(ctx, 100)
	check(t, err)
	for _, r := range asked {
		n["request "+string(r.State)]++
	}
	suppressed, err := db.Suppressions(ctx, 100)
	check(t, err)
	n["suppression"] = len(suppressed)
	schedules, _, err := db.ScheduleReports(ctx)
	check(t, err)
	for _, s := range schedules {
		ticks, err := db.TickHistory(ctx, s.Name, 1000)
		check(t, err)
		n["ticks "+s.Name] = len(ticks)
		if s.Paused {
			n["schedule paused"]++
		}
		if s.Missed > 0 {
			n["schedule that missed some"]++
		}
	}
	entries, err := db.AuditPage(ctx, audit.Query{}, 1000)
	check(t, err)
	if !slices.IsSortedFunc(entries, func(a, b audit.Link) int { return b.Entry.At.Compare(a.Entry.At) }) {
		t.Error("the audit log's times are not in its order")
	}
	for _, e := range entries {
		sort, _, _ := strings.Cut(e.Entry.Action, ".")
		n["entry "+sort]++
	}
	return n
}

func start(t *testing.T, dir string) *embedded.Stack {
	t.Helper()
	stack, err := embedded.Start(t.Context(), embedded.Config{
		Dir: dir, RingAge: seed.RingAge, RingInDatabase: true, Mail: catcher.Options{Hook: seed.Refuse},
	})
	check(t, err)
	t.Cleanup(func() { check(t, stack.Close()) })
	return stack
}

func TestADatabaseThatWasThereBeforeIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, RingInDatabase: true})
	check(t, err)
	check(t, first.Close())
	_, err = seed.Fill(t.Context(), seed.Config{Stack: start(t, dir), Audience: "test", From: "no-reply@dev.example", BaseURL: "http://localhost:1"})
	if !errors.Is(err, seed.ErrNotFresh) {
		t.Errorf("want %v, got %v", seed.ErrNotFresh, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
