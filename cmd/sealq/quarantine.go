package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// entry is a refused task as it is listed.
type entry struct {
	ID            string         `json:"id"`
	TaskID        string         `json:"task_id"`
	Queue         string         `json:"queue"`
	Kind          string         `json:"kind"`
	Reason        signing.Reason `json:"reason"`
	KID           string         `json:"kid"`
	Size          int64          `json:"size"`
	PayloadSHA256 string         `json:"payload_sha256"`
	ReceivedAt    time.Time      `json:"received_at"`
}

// wholeEntry is one as it is shown.
type wholeEntry struct {
	entry
	Headers   map[string]string `json:"headers"`
	MaxRetry  int               `json:"max_retry"`
	Detail    string            `json:"detail"`
	Authentic bool              `json:"authentic"`
	Payload   []byte            `json:"payload_base64"`
	// Both null: it was not released.
	ReleasedAt *time.Time `json:"released_at"`
	ReleasedAs *string    `json:"released_as"`
}

func newEntry(r jobs.Refused) entry {
	return entry{
		ID: r.ID, TaskID: r.TaskID, Queue: r.Queue, Kind: r.Kind, Reason: r.Reason, KID: r.KID, Size: r.Size,
		PayloadSHA256: hex.EncodeToString(r.PayloadSHA256[:]), ReceivedAt: r.ReceivedAt.UTC(),
	}
}

func (p *program) quarantine() *cobra.Command {
	return group(&cobra.Command{
		Use: "quarantine", Short: "Look at the tasks that workers refused, release or purge them",
		Example: "  sealq quarantine list\n  sealq quarantine list --dir sealq-quarantine",
	}, p.quarantineList(), p.quarantineShow(), p.quarantineRelease(), p.quarantinePurge())
}

const dirUsage = "a `folder` that is the quarantine of workers without a database"

// quarantined opens the quarantine: a folder where one is named, else the database's.
func (s *session) quarantined(ctx context.Context, dir string) (app.QuarantineReader, func() error, error) {
	if dir == "" {
		d, err := s.database()
		if err != nil {
			return nil, nil, err
		}
		db, err := d.openMigrated(ctx)
		if err != nil {
			return nil, nil, err
		}
		return db, db.Close, nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() { // opening would make it
		return nil, nil, wrongly("--dir %s is no folder: name the quarantine's folder", dir)
	}
	folder, err := worker.OpenDir(dir)
	return folder, func() error { return nil }, err
}

func (p *program) quarantineList() *cobra.Command {
	var limit int
	var dir string
	c := uses(&cobra.Command{
		Use: "list", Short: "List refused tasks, the newest first", Args: exactly(),
		Example: "  sealq quarantine list --limit 20\n  sealq quarantine list --json",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) (err error) {
			if limit < 1 {
				return wrongly("--limit must be 1 or more")
			}
			q, closeQ, err := s.quarantined(ctx, dir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeQ()) }()
			refused, err := q.QuarantineList(ctx, limit)
			if err != nil {
				return err
			}
			entries := make([]entry, 0, len(refused))
			for _, r := range refused {
				entries = append(entries, newEntry(r))
			}
			usage, err := q.QuarantineUsage(ctx)
			if err != nil {
				return err
			}
			if s.json { // an array and nothing beside it, whatever was not kept
				printOverflow(s.stderr, usage)
				return s.printJSON(entries)
			}
			if err := printEntries(s.stdout, entries); err != nil {
				return err
			}
			printOverflow(s.stdout, usage)
			return nil
		}),
	}, "database-url")
	c.Flags().IntVar(&limit, "limit", 1000, "how many at most")
	c.Flags().StringVar(&dir, "dir", "", dirUsage)
	return c
}

// printEntries writes entries for people. What a task chose is escaped and cut: a stranger's names must not lay out the table.
func printEntries(out io.Writer, entries []entry) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tRECEIVED\tREASON\tKIND\tQUEUE\tTASK\tKID\tSIZE")
	for _, e := range entries {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n",
			e.ID, moment(&e.ReceivedAt), e.Reason, cell(e.Kind, 32), cell(e.Queue, 24), cell(e.TaskID, 48), orDash(e.KID), e.Size)
	}
	return flush(w)
}

// cell is a name in ASCII, without spaces, and cut.
func cell(name string, width int) string {
	quoted := strconv.QuoteToASCII(name)
	name = strings.ReplaceAll(quoted[1:len(quoted)-1], " ", `\x20`)
	if len(name) > width {
		name = name[:width-3] + "..."
	}
	return orDash(name)
}

// printOverflow tells what was refused and counted only.
func printOverflow(out io.Writer, u quarantine.Usage) {
	for _, reason := range slices.Sorted(maps.Keys(u.Overflow)) {
		o := u.Overflow[reason]
		fmt.Fprintf(out, "not kept, because the quarantine was full: %s refused as %s (%s), from %s to %s\n",
			plural(int(o.Entries), "task"), cell(string(reason), 32), plural(int(o.Bytes), "byte"), moment(&o.FirstAt), moment(&o.LastAt))
	}
}

func (p *program) quarantineShow() *cobra.Command {
	var dir string
	c := uses(&cobra.Command{
		Use: "show ID", Short: "Show one refused task with its bytes, undecoded", Args: exactly("ID"),
		Example: "  sealq quarantine show 0199a1b2-0000-7000-8000-000000000000",
		RunE: p.action(func(ctx context.Context, s *session, args []string) (err error) {
			q, closeQ, err := s.quarantined(ctx, dir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeQ()) }()
			r, err := q.QuarantineShow(ctx, args[0])
			if err != nil {
				return err
			}
			whole := wholeEntry{
				entry: newEntry(r), Headers: r.Headers, MaxRetry: r.MaxRetry, Detail: r.Detail, Authentic: r.Authentic, Payload: r.Payload,
			}
			if !r.ReleasedAt.IsZero() {
				whole.ReleasedAt, whole.ReleasedAs = &r.ReleasedAt, &r.ReleasedAs
			}
			if s.json {
				return s.printJSON(whole)
			}
			return s.printEntry(whole)
		}),
	}, "database-url")
	c.Flags().StringVar(&dir, "dir", "", dirUsage)
	return c
}

// printEntry writes an entry for people. What the task chose is quoted where it is not made printable already,
// and its payload is a hex dump: a terminal must not obey it.
func (s *session) printEntry(e wholeEntry) error {
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	released := "-"
	if e.ReleasedAs != nil {
		released = moment(e.ReleasedAt) + " as " + *e.ReleasedAs
	}
	for _, line := range [][2]string{
		{"id", e.ID},
		{"task", e.TaskID},
		{"queue", e.Queue},
		{"kind", e.Kind},
		{"received", moment(&e.ReceivedAt)},
		{"reason", string(e.Reason)},
		{"detail", e.Detail},
		{"authentic", fmt.Sprint(e.Authentic)},
		{"released", released},
		{"kid", orDash(e.KID)},
		{"max retry", fmt.Sprint(e.MaxRetry)},
		{"size", plural(int(e.Size), "byte")},
		{"sha256", e.PayloadSHA256},
	} {
		fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
	}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		fmt.Fprintf(w, "header\t%+q: %+q\n", name, e.Headers[name])
	}
	if err := flush(w); err != nil {
		return err
	}
	fmt.Fprint(s.stdout, hex.Dump(e.Payload))
	return nil
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
