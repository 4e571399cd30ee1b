//go:build !race

// Under the race detector sync.Pool drops values at random, so that allocations say nothing there.

package signing_test

import (
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/sealq/sealq/signing"
)

func TestSigningAndVerifyingAllocateNothing(t *testing.T) { //nolint:paralleltest // testing.AllocsPerRun counts the whole process
	k := open(t, ringA(t), t0)
	v := signing.Validity{Expires: t0.Add(time.Hour)}
	tasks := ratioTasks()
	many := tasks["a task without any header"]
	many.Headers = map[string]string{}
	for i := range signing.DefaultMaxHeaders {
		many.Headers[strconv.Itoa(i)] = "é" // not ASCII: looked at one by one
	}
	tasks["a task with as many headers as there may be"] = many
	large := tasks["a task of the outbox"]
	large.Payload = make([]byte, 64<<10)
	tasks["a task with a large payload"] = large
	for name, task := range tasks { //nolint:paralleltest // as above
		t.Run(name, func(t *testing.T) {
			dst := make([]byte, 0, 104)
			out, _, err := k.AppendSign(dst, task, v)
			if err != nil {
				t.Fatal(err)
			}
			sig := string(out)
			task.Headers = maps.Clone(task.Headers)
			if task.Headers != nil {
				task.Headers[signing.SignatureHeader] = sig // as a worker gets it
			}
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
		})
	}
}
