package rounds_test

import (
	"slices"
	"testing"

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
