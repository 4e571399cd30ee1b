//go:build !race

// Under the race detector sync.Pool drops values at random, so that allocations say nothing there.

package signing_test

import (
	"testing"
	"time"

	"github.com/sealq/sealq/signing"
)

func TestSigningAndVerifyingAllocateNothing(t *testing.T) { //nolint:paralleltest // testing.AllocsPerRun counts the whole process
	k := open(t, ringA(t), t0)
	task, _ := genuine()
	v := signing.Validity{Expires: t0.Add(time.Hour)}
	dst := make([]byte, 0, 104)
	out, _, err := k.AppendSign(dst, task, v)
	if err != nil {
		t.Fatal(err)
	}
	sig := string(out)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := k.Verify(task, sig); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Verify allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, _, err := k.AppendSign(dst, task, v); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("AppendSign allocates %v times", n)
	}
}
