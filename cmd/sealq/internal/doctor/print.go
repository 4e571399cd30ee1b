package doctor

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/sealq/sealq/jobs/rawtask"
)

// Print writes the report for people: one line a check, grouped by what it depends on, and a second line with what to do.
func (r Report) Print(w io.Writer) error {
	const widest = 16 // of the checks' names
	group := ""
	for i := 0; i < len(r.Checks); i++ {
		f := r.Checks[i]
		if f.Group != group {
			if group != "" {
				fmt.Fprintln(w)
			}
			group = f.Group
			fmt.Fprintln(w, group)
		}
		message := f.Message
		if f.Subject != "" {
			message = f.Subject + ": " + message
		}
		// What cannot be looked at for one reason is one line.
		for names := f.Check; f.Status == Skipped && i+1 < len(r.Checks) && alike(f, r.Checks[i+1]); i++ {
			names += ", " + r.Checks[i+1].Check
			message = f.Message + ": " + names
		}
		fmt.Fprintf(w, "  %-8s %-*s %s\n", f.Status, widest, f.Check, message)
		if f.Advice != "" {
			fmt.Fprintf(w, "  %-8s %-*s → %s\n", "", widest, "", f.Advice)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s, %s, %d skipped\n", plural(int64(r.Problems), "problem"), plural(int64(r.Warnings), "warning"), r.Skipped)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func alike(a, b Finding) bool {
	return b.Status == a.Status && b.Group == a.Group && b.Message == a.Message
}

// Print writes it for people.
func (a Adoption) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "QUEUE\tSTATE\tSIGNED\tUNSIGNED\tREFUSED")
	for _, q := range a.Queues {
		for _, state := range rawtask.States() {
			if c := q.States[state]; c != (Counts{}) {
				fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\n", shown(q.Queue), state, c.Signed, c.Unsigned, c.Refused)
			}
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	for _, q := range a.Queues {
		if len(q.UnsignedKinds) == 0 {
			continue
		}
		due := "now"
		if q.LatestUnsigned != nil {
			due = q.LatestUnsigned.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "\n%s: unsigned tasks of %s, the last of them due %s\n", shown(q.Queue), shownAll(q.UnsignedKinds), due)
	}
	fmt.Fprintln(w)
	for _, note := range a.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", a.Verdict); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
