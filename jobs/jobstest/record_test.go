package jobstest_test

import (
	"fmt"
	"runtime"
	"testing"
)

// record is a test that does not fail for real.
type record struct {
	testing.TB
	failed string
}

func (r *record) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failureOf returns what fn fails its test with, "" if it does not.
func failureOf(t *testing.T, fn func(t testing.TB)) string {
	t.Helper()
	r := &record{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		fn(r)
	}()
	<-ended
	return r.failed
}
