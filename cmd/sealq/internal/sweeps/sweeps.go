// Package sweeps shows people what sweeps would delete, and how far one is. It deletes nothing.
package sweeps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
)

// ErrNoSweep means that a kind deletes nothing by its nature, so that there is nothing to be told beforehand.
var ErrNoSweep = errors.New("it is no sweep: what it would do cannot be told beforehand")

// Walks are those of a kind's sweep.
func Walks(kind jobs.Kind, r sweep.Retention) ([]sweep.Walk, error) {
	switch kind {
	case authjobs.KindExpirePending:
		return sweep.Expiry(), nil
	case authjobs.KindResetLockouts:
		return append(sweep.Unlocking(), sweep.Walk{Part: sweep.Attempts, Keep: accounts.ForgetAfter}), nil
	case authjobs.KindPurge:
		return r.Walks(), nil
	}
	return nil, fmt.Errorf("%s: %w", kind, ErrNoSweep)
}

// Due is what a sweep would delete of a part now.
type Due struct {
	Part sweep.Part `json:"part"`
	Keep string     `json:"keep"` // a duration; "0s": nothing is kept after its time
	Rows int64      `json:"rows"`
}

// Preview counts what the sweep of a kind would delete now, exactly, and deletes nothing. Of ten million rows that are due it reads all index
// entries, which takes seconds.
func Preview(ctx context.Context, c sweep.Counter, kind jobs.Kind, r sweep.Retention) ([]Due, error) {
	walks, err := Walks(kind, r)
	if err != nil {
		return nil, err
	}
	due := make([]Due, 0, len(walks))
	for _, w := range walks {
		n, err := c.CountDue(ctx, w, true)
		if err != nil {
			return nil, err
		}
		due = append(due, Due{Part: w.Part, Keep: w.Keep.String(), Rows: n})
	}
	return due, nil
}

// Print writes a preview as a table.
func Print(out io.Writer, due []Due) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PART\tKEPT FOR\tWOULD GO")
	var all int64
	for _, d := range due {
		keep := d.Keep
		if keep == "0s" {
			keep = "–"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\n", d.Part, keep, d.Rows)
		all += d.Rows
	}
	fmt.Fprintf(table, "together\t\t%d\n", all)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

const (
	cells       = 24 // of the bar
	toLineStart = "\r"
	eraseRest   = "\x1b[K"    // of the line, ECMA-48's EL
	sureAfter   = time.Second // before that a rate says little
)

// Line is how far a sweep is, in less than width columns; a width of 0 bounds nothing.
func Line(p sweep.Progress, width int) string {
	line := []rune(line(p))
	if width > 0 && len(line) >= width { // a line that wraps would not be drawn over
		line = line[:width-1]
	}
	return string(line)
}

func line(p sweep.Progress) string {
	switch {
	case p.Holder == "":
		return p.Sweep + ": has not run yet"
	case p.Ended:
		return fmt.Sprintf("%s: done, %d rows in %v", p.Sweep, p.Done, p.ToldAt.Sub(p.BeganAt).Round(100*time.Millisecond))
	case p.Due == 0:
		return fmt.Sprintf("%s: %s, %d rows", p.Sweep, p.Part, p.Done)
	}
	all := max(p.Due, p.Done)
	share := float64(p.Done) / float64(all)
	bar := [cells]byte{}
	for i := range bar {
		bar[i] = '.'
		if i < int(share*cells) {
			bar[i] = '#'
		}
	}
	text := fmt.Sprintf("%s: %-14s [%s] %3.0f %%  %d of about %d", p.Sweep, p.Part, bar[:], share*100, p.Done, all)
	if p.ToldAt.Sub(p.BeganAt) < sureAfter || p.Done == 0 {
		return text
	}
	return text + fmt.Sprintf("  %.0f/s  %v left", p.Rate(), p.Left().Round(time.Second))
}

// Draw writes how far a sweep is over the line that was drawn before, on a terminal of that many columns.
func Draw(out io.Writer, p sweep.Progress, width int) {
	fmt.Fprint(out, toLineStart+Line(p, width)+eraseRest)
}

// Erase takes the line away that was drawn.
func Erase(out io.Writer) { fmt.Fprint(out, toLineStart+eraseRest) }
