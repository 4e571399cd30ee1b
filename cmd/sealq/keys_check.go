package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/signing"
)

func (p *program) keysCheck() *cobra.Command {
	return uses(&cobra.Command{
		Use: "check", Short: "Print the keys' check values, and compare them with other processes'", Args: exactly(),
		Long: "Print a check value for each key: two hosts whose values for one key differ have another ring or another audience,\n" +
			"and refuse what the other signs. With --database-url they are compared with those of every process that was seen in\n" +
			"the last 10 minutes; the exit code is 1 when one differs. A process that is merely behind does not.",
		Example: "  sealq keys check --audience prod-eu",
		RunE: p.action(p.withRing(func(ctx context.Context, r *keyRing, _ []string) error {
			audience, err := r.s.audience()
			if err != nil {
				return err
			}
			keys, err := r.s.openKeys(ctx, r, audience, 0)
			if err != nil {
				return err
			}
			defer keys.Close()
			var reports []signing.Report
			db, err := r.database(ctx)
			if err == nil && db != nil {
				reports, err = db.RingReports(ctx, signing.ReportsCount)
			}
			if err != nil {
				return err
			}
			reports = slices.DeleteFunc(reports, signing.Report.Ended)
			c := compared(keys, reports)
			if r.s.json {
				err = p.printJSON(c)
			} else {
				err = r.s.printComparison(c)
			}
			if err != nil {
				return err
			}
			return keys.Agrees(reports)
		})),
	}, ringOptions("audience")...)
}

// comparison is the answer of `keys check`.
type comparison struct {
	Version   uint64     `json:"version"`
	Audience  string     `json:"audience"`
	Agree     bool       `json:"agree"`
	Keys      []checked  `json:"keys"`
	Processes []reported `json:"processes"`
}

type checked struct {
	KID        signing.KID   `json:"kid"`
	State      signing.State `json:"state"`
	CheckValue string        `json:"check_value"`
}

type reported struct {
	Process     string        `json:"process"`
	RingVersion uint64        `json:"ring_version"`
	SeenAt      time.Time     `json:"seen_at"`
	Agrees      bool          `json:"agrees"`
	Missing     []signing.KID `json:"missing"` // keys that it does not know
}

func compared(keys *signing.Keys, reports []signing.Report) comparison {
	c := comparison{
		Version: keys.Version(), Audience: keys.Audience(), Agree: keys.Agrees(reports) == nil,
		Keys: []checked{}, Processes: []reported{},
	}
	values := keys.CheckValues()
	for _, k := range keys.Infos() {
		if check, ok := values[k.KID]; ok { // a destroyed key has none
			c.Keys = append(c.Keys, checked{k.KID, k.State, hex.EncodeToString(check[:])})
		}
	}
	for _, r := range reports {
		p := reported{
			Process: r.Process, RingVersion: r.Version, SeenAt: r.SeenAt.UTC(),
			Agrees: keys.Agrees([]signing.Report{r}) == nil, Missing: []signing.KID{},
		}
		for _, k := range c.Keys {
			if _, knows := r.CheckValues[k.KID]; !knows {
				p.Missing = append(p.Missing, k.KID)
			}
		}
		c.Processes = append(c.Processes, p)
	}
	return c
}

// verdict is what a person should make of a process's report.
func (r reported) verdict() string {
	switch {
	case !r.Agrees:
		return "differs: another ring or another audience"
	case len(r.Missing) > 0:
		missing := make([]string, len(r.Missing))
		for i, kid := range r.Missing {
			missing[i] = kid.String()
		}
		return "agrees, and does not know " + strings.Join(missing, ", ")
	default:
		return "agrees"
	}
}

func (s *session) printComparison(c comparison) error {
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KID\tSTATE\tCHECK VALUE FOR "+c.Audience)
	for _, k := range c.Keys {
		fmt.Fprintf(w, "%s\t%s\t%s\n", k.KID, k.State, k.CheckValue)
	}
	if err := flush(w); err != nil || len(c.Processes) == 0 {
		return err
	}
	fmt.Fprintln(s.stdout)
	fmt.Fprintln(w, "PROCESS\tRING\tSEEN\tVERDICT")
	for _, p := range c.Processes {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", p.Process, p.RingVersion, moment(&p.SeenAt), p.verdict())
	}
	return flush(w)
}
