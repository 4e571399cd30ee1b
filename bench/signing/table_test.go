package signing_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"
)

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func BenchmarkSign(b *testing.B)   { each(b, func(p peer) func() error { return p.sign }) }
func BenchmarkVerify(b *testing.B) { each(b, func(p peer) func() error { return p.verify }) }

func each(b *testing.B, operation func(peer) func() error) {
	b.Helper()
	for _, p := range peers(b) {
		b.Run(p.name, func(b *testing.B) {
			b.ReportAllocs()
			run := operation(p)
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

const (
	rounds   = 9
	perRound = 20 * time.Millisecond
)

// BenchmarkTable prints one table of ratios. The peers take turns in short rounds, so that whatever else the
// machine does falls on all of them; each ratio is the median of the rounds' ratios to sealq.
func BenchmarkTable(b *testing.B) {
	all := peers(b)
	for b.Loop() {
		signs, verifies := ratios(b, all, func(p peer) func() error { return p.sign }), ratios(b, all, func(p peer) func() error { return p.verify })
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\n256 B payload\tsign, × sealq\tverify, × sealq")
		for i, p := range all {
			fmt.Fprintf(w, "%s\t%.2f\t%.2f\n", p.name, signs[i], verifies[i])
		}
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}

// ratios is the time of each peer's operation over that of sealq's, which is the second.
func ratios(b *testing.B, all []peer, operation func(peer) func() error) []float64 {
	b.Helper()
	byPeer := make([][]float64, len(all))
	for range rounds {
		times := make([]float64, len(all))
		for i, p := range all {
			times[i] = perOperation(b, operation(p))
		}
		for i := range all {
			byPeer[i] = append(byPeer[i], times[i]/times[1])
		}
	}
	medians := make([]float64, len(all))
	for i, r := range byPeer {
		slices.SortFunc(r, cmp.Compare)
		medians[i] = r[len(r)/2]
	}
	return medians
}

func perOperation(b *testing.B, run func() error) float64 {
	b.Helper()
	n := 0
	began := time.Now()
	for time.Since(began) < perRound {
		for range 100 {
			if err := run(); err != nil {
				b.Fatal(err)
			}
		}
		n += 100
	}
	return float64(time.Since(began).Nanoseconds()) / float64(n)
}
