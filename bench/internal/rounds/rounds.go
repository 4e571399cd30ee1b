// Package rounds compares ways to do one thing on a machine that is never quiet. In each round every way runs several times,
// in turn forwards and backwards (A B C C B A), and each round begins with another way, so that what else the machine does
// falls on all of them alike. What is reported is the median of the rounds' own ratios, and how far those lie apart. A first
// round warms up and is not counted. It decides nothing: whether a ratio is good enough is for the reader.
package rounds

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"
)

// RoundsEnv is the environment variable that sets how many rounds a table is made of. Unset: 5.
const RoundsEnv = "SEALQ_BENCH_ROUNDS"

const defaultRounds = 5

// Way is one way to do the thing.
type Way struct {
	Name string
	// Run does n of the thing, and times no more than that: what it prepares and checks lies outside Start and Stop.
	Run func(n int, t *Timer) error
	// Against is the index of the way whose rate this one's is divided by. Zero: the first.
	Against int
}

// Meter reads CPU time that somebody has used so far.
type Meter struct {
	Name string
	Read func() (time.Duration, error)
}

// Table is what is compared.
type Table struct {
	Title string
	N     int // of the thing, in each run
	Turns int // how often a round goes forwards and backwards; zero: once
	Ways  []Way
	// CPU is shown as microseconds per thing, which changes less than the rate with what else the machine does.
	CPU []Meter
	// Cores also shows how many cores all meters together keep busy.
	Cores bool
}

// Print runs the ways in rounds and prints rates and ratios.
func (t Table) Print(b *testing.B) {
	b.Helper()
	rounds := defaultRounds
	if text := os.Getenv(RoundsEnv); text != "" { //nolint:forbidigo // benchmarks have no command of their own
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			b.Fatalf("%s is %q: set it to a number of rounds, 1 or more", RoundsEnv, text)
		}
		rounds = n
	}
	figures, err := t.run(rounds)
	if err != nil {
		b.Fatal(err)
	}
	if err := t.write(os.Stdout, figures); err != nil {
		b.Fatal(err)
	}
}

// figures are one way's, a round each.
type figures struct {
	perSecond []float64
	cpu       [][]float64 // by meter; microseconds per thing
}

func (t Table) run(rounds int) ([]figures, error) {
	all := make([]figures, len(t.Ways))
	for way := range all {
		all[way].cpu = make([][]float64, len(t.CPU))
	}
	for round := range rounds + 1 {
		timers := make([]*Timer, len(t.Ways))
		for way := range timers {
			timers[way] = &Timer{meters: t.CPU, cpu: make([]time.Duration, len(t.CPU))}
		}
		for _, way := range slices.Repeat(order(len(t.Ways), round), max(t.Turns, 1)) {
			runtime.GC() // what one way left must not be swept at the cost of the next
			timers[way].err = nil
			if err := cmp.Or(t.Ways[way].Run(t.N, timers[way]), timers[way].err); err != nil {
				return nil, fmt.Errorf("%s: %w", t.Ways[way].Name, err)
			}
		}
		if round == 0 {
			continue
		}
		for way, timer := range timers {
			n := float64(2 * max(t.Turns, 1) * t.N)
			all[way].perSecond = append(all[way].perSecond, n/timer.took.Seconds())
			for m, used := range timer.cpu {
				all[way].cpu[m] = append(all[way].cpu[m], float64(used.Microseconds())/n)
			}
		}
	}
	return all, nil
}

// order is the ways of one round: from a way that changes with the round, forwards and then backwards.
func order(ways, round int) []int {
	forwards := make([]int, ways)
	for i := range forwards {
		forwards[i] = (i + round) % ways
	}
	backwards := slices.Clone(forwards)
	slices.Reverse(backwards)
	return append(forwards, backwards...)
}

func (t Table) write(out io.Writer, all []figures) error {
	fmt.Fprintf(out, "\n%s\n", t.Title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\tper second\tratio\tlowest\thighest\t")
	for _, meter := range t.CPU {
		fmt.Fprintf(w, "%s, µs\t", meter.Name)
	}
	if t.Cores {
		fmt.Fprint(w, "cores busy\t")
	}
	fmt.Fprintln(w)
	for i, way := range t.Ways {
		ratios := make([]float64, len(all[i].perSecond))
		for round := range ratios {
			ratios[round] = all[i].perSecond[round] / all[way.Against].perSecond[round]
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.2f\t%.2f\t", way.Name, median(all[i].perSecond), median(ratios), slices.Min(ratios), slices.Max(ratios))
		for _, cpu := range all[i].cpu {
			fmt.Fprintf(w, "%.1f\t", median(cpu))
		}
		if t.Cores {
			fmt.Fprintf(w, "%.2f\t", median(all[i].cores()))
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

// cores are how many cores were busy in each round, by all meters.
func (f figures) cores() []float64 {
	busy := make([]float64, len(f.perSecond))
	for _, cpu := range f.cpu {
		for round, micros := range cpu {
			busy[round] += micros / 1e6 * f.perSecond[round]
		}
	}
	return busy
}

// median is the middle one, of an even number the upper of the two.
func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// Timer times a way's runs.
type Timer struct {
	meters []Meter
	began  time.Time
	took   time.Duration
	cpu    []time.Duration
	err    error
}

// Start begins what is timed.
func (t *Timer) Start() {
	for i, used := range t.read() {
		t.cpu[i] -= used
	}
	t.began = time.Now() //nolint:forbidigo // a benchmark is about real time
}

// Stop ends what is timed.
func (t *Timer) Stop() {
	t.took += time.Since(t.began) //nolint:forbidigo // as above
	for i, used := range t.read() {
		t.cpu[i] += used
	}
}

func (t *Timer) read() []time.Duration {
	used := make([]time.Duration, len(t.meters))
	for i, meter := range t.meters {
		var err error
		used[i], err = meter.Read()
		t.err = cmp.Or(t.err, err)
	}
	return used
}
