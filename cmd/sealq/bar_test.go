package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cmd/sealq/internal/loadtest"
)

func TestTheBarShowsHowFarHowFastAndHowLongStill(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	now, width := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 200
	b := newBar(&out, "bench", func() int { return width }, func() time.Time { return now })
	for _, c := range []struct {
		after time.Duration
		width int
		stage loadtest.Stage
		done  int
		all   int
		want  string
	}{
		{0, 200, "enqueue", 0, 200, "bench: enqueue          [........................]   0 %  0 of 200"},
		{500 * time.Millisecond, 200, "enqueue", 10, 200, "bench: enqueue          [#.......................]   5 %  10 of 200"},
		{1500 * time.Millisecond, 200, "enqueue", 100, 200, "bench: enqueue          [############............]  50 %  100 of 200  50/s  2s left"},
		{2 * time.Second, 0, "enqueue", 200, 200, "bench: enqueue          [########################] 100 %  200 of 200  50/s  0s left"},
		{10 * time.Second, 0, "record to effect", 0, 200, "bench: record to effect [........................]   0 %  0 of 200"},
		{2 * time.Second, 30, "record to effect", 50, 200, "bench: record to effect [####"},
		{0, 200, "remove", 0, 0, "bench: remove …"},
	} {
		now, width = now.Add(c.after), c.width
		out.Reset()
		b.show(c.stage, c.done, c.all)
		if diff := cmp.Diff("\r"+c.want+"\x1b[K", out.String()); diff != "" {
			t.Errorf("the line (-want +got):\n%s", diff)
		}
	}
	out.Reset()
	b.clear()
	if got := out.String(); got != "\r\x1b[K" {
		t.Errorf("cleared by %q", got)
	}
}
