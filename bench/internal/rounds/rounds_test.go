package rounds_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sealq/sealq/bench/internal/rounds"
)

func TestEachRoundGoesForwardsAndBackwardsFromAnotherWay(t *testing.T) {
	t.Parallel()
	for round, want := range [][]int{{0, 1, 2, 2, 1, 0}, {1, 2, 0, 0, 2, 1}, {2, 0, 1, 1, 0, 2}, {0, 1, 2, 2, 1, 0}} {
		if got := rounds.Order(3, round); !slices.Equal(want, got) {
			t.Errorf("round %d: want %v, got %v", round, want, got)
		}
	}
}

func TestMedianIsInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		of   []float64
		want float64
	}{{[]float64{3, 1, 2}, 2}, {[]float64{1}, 1}, {[]float64{4, 1, 3, 2}, 3}} {
		if got := rounds.Median(test.of); got != test.want {
			t.Errorf("want %v of %v, got %v", test.want, test.of, got)
		}
	}
}

func TestCoresBusyAreThoseOfAllMeters(t *testing.T) {
	t.Parallel()
	got := rounds.Cores([]float64{1000, 500}, []float64{1000, 1000}, []float64{500, 2000}) // µs each
	if want := []float64{1.5, 1.5}; !slices.Equal(want, got) {
		t.Errorf("want %v, got %v", want, got)
	}
}

func TestTheTimeOfAnotherProcessIsReadAsOnesOwn(t *testing.T) {
	t.Parallel()
	own, other := rounds.OwnCPU(), rounds.ProcessCPU("this one's", os.Getpid())
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Log("only Linux tells it in /proc")
		return
	}
	var before, told, after time.Duration
	for after < 100*time.Millisecond { // of work
		var err error
		if before, err = own.Read(); err != nil {
			t.Fatal(err)
		}
		if told, err = other.Read(); err != nil {
			t.Fatal(err)
		}
		if after, err = own.Read(); err != nil {
			t.Fatal(err)
		}
	}
	const steps = 20 * time.Millisecond // of user and system time
	if told < before-steps || told > after+steps {
		t.Errorf("want %v to %v, got %v", before, after, told)
	}
	if none, err := rounds.ProcessCPU("nobody's", 1<<30).Read(); none != 0 || err != nil {
		t.Errorf("of no process: %v, %v", none, err)
	}
}
