package jobstest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Source is where jobs are looked for: an [Outbox], or a database ([FromSQL]).
type Source interface {
	// Rows are all the rows, in the order in which they were recorded.
	Rows(ctx context.Context) ([]Row, error)
}

// Enqueued is a job that was recorded, with its arguments decoded. [Worker.WorkRow] runs its Row.
type Enqueued[A any] struct {
	Args A
	Row
}

// RequireEnqueued ends the test unless the jobs of def's kind are exactly those with the arguments want, in the order
// in which they were recorded. Jobs of other kinds do not count. It returns them, for a test to look at queue, times
// and headers.
func RequireEnqueued[A any](t testing.TB, from Source, def jobs.Def[A], want ...A) []Enqueued[A] {
	t.Helper()
	if len(want) == 0 {
		fail(t, "RequireEnqueued wants no %s job: call RequireNotEnqueued, or RequireOneEnqueued where any arguments will do", def.Kind())
		return nil
	}
	wanted := make([][]byte, len(want))
	for i, args := range want {
		job := def.With(args)
		if err := job.Err(); err != nil {
			fail(t, "the job that is wanted would be refused: %v", err)
			return nil
		}
		wanted[i] = job.Payload()
	}
	all, got, ok := look(t, from, def)
	if !ok {
		return nil
	}
	same := slices.EqualFunc(got, wanted, func(e Enqueued[A], payload []byte) bool { return bytes.Equal(canonical(def, e), payload) })
	if !same {
		fail(t, "enqueued are not the %s jobs that are wanted\nwant:\n%s\ngot:\n%s", def.Kind(), listWanted(def.Kind(), wanted), list(all))
		return nil
	}
	return got
}

// RequireOneEnqueued ends the test unless exactly one job of def's kind was recorded, whatever its arguments, and
// returns it.
func RequireOneEnqueued[A any](t testing.TB, from Source, def jobs.Def[A]) Enqueued[A] {
	t.Helper()
	all, got, ok := look(t, from, def)
	switch {
	case !ok:
		return Enqueued[A]{}
	case len(got) != 1:
		fail(t, "%d %s jobs are enqueued instead of one\ngot:\n%s", len(got), def.Kind(), list(all))
		return Enqueued[A]{}
	}
	return got[0]
}

// RequireNotEnqueued ends the test if a job of def's kind was recorded.
func RequireNotEnqueued[A any](t testing.TB, from Source, def jobs.Def[A]) {
	t.Helper()
	all, got, ok := look(t, from, def)
	if ok && len(got) > 0 {
		fail(t, "%d %s jobs are enqueued instead of none\ngot:\n%s", len(got), def.Kind(), list(all))
	}
}

// look finds the jobs of def's kind among all. ok is false where the test has failed.
func look[A any](t testing.TB, from Source, def jobs.Def[A]) (all []Row, got []Enqueued[A], ok bool) {
	t.Helper()
	if err := def.Err(); err != nil {
		fail(t, "%v", err)
		return nil, nil, false
	}
	all, err := from.Rows(t.Context())
	if err != nil {
		fail(t, "read the jobs that are enqueued: %v", err)
		return nil, nil, false
	}
	keys := openKeys(t, time.Now) //nolint:forbidigo // the signature is verified at once
	defer keys.Close()
	for _, row := range all {
		if row.Kind != def.Kind() {
			continue
		}
		args, err := decode(keys, def, row, time.Now()) //nolint:forbidigo // likewise
		if err != nil {
			fail(t, "no worker would take this job: %v\n%s", err, list([]Row{row}))
			return nil, nil, false
		}
		got = append(got, Enqueued[A]{Args: args, Row: row})
	}
	return all, got, true
}

// canonical are the arguments as Def.With encodes them: a row may have been recorded by other means.
func canonical[A any](def jobs.Def[A], e Enqueued[A]) []byte { return def.With(e.Args).Payload() }

func listWanted(kind jobs.Kind, payloads [][]byte) string {
	lines := make([]string, len(payloads))
	for i, p := range payloads {
		lines[i] = fmt.Sprintf("  %s %s", kind, p)
	}
	return strings.Join(lines, "\n")
}

func list(rows []Row) string {
	if len(rows) == 0 {
		return "  nothing at all"
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = fmt.Sprintf("  %s %s in queue %q", r.Kind, r.Payload, r.Queue)
		if r.State != jobs.RowQueued {
			lines[i] += ", " + string(r.State)
		}
	}
	return strings.Join(lines, "\n")
}

func fail(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Fatalf("jobstest: "+format, args...)
}
