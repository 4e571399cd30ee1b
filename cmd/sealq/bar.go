package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/loadtest"
)

// bar shows on a terminal how far each stage is, at which rate, and how long it is going to take at that rate.
type bar struct {
	out   io.Writer
	title string
	width func() int // of the terminal, 0 where it is not known
	now   func() time.Time

	stage loadtest.Stage
	began time.Time
}

func newBar(out io.Writer, title string, width func() int, now func() time.Time) *bar {
	return &bar{out: out, title: title, width: width, now: now}
}

const (
	toLineStart = "\r"
	eraseRest   = "\x1b[K"    // of the line, ECMA-48's EL
	cells       = 24          // of the bar itself
	sureAfter   = time.Second // before that a rate says little
)

// show draws over what was shown before.
func (b *bar) show(stage loadtest.Stage, done, all int) {
	now := b.now()
	if stage != b.stage {
		b.stage, b.began = stage, now
	}
	line := []rune(b.line(done, all, now.Sub(b.began)))
	if width := b.width(); width > 0 && len(line) >= width { // a line that wraps would not be drawn over
		line = line[:width-1]
	}
	fmt.Fprint(b.out, toLineStart+string(line)+eraseRest)
}

func (b *bar) line(done, all int, elapsed time.Duration) string {
	if all == 0 {
		return fmt.Sprintf("%s: %s …", b.title, b.stage)
	}
	share := float64(done) / float64(all)
	full := min(int(share*cells), cells)
	line := fmt.Sprintf("%s: %-16s [%s%s] %3.0f %%  %d of %d", b.title, b.stage, strings.Repeat("#", full), strings.Repeat(".", cells-full), share*100, done, all)
	if elapsed < sureAfter || done == 0 {
		return line
	}
	rate := float64(done) / elapsed.Seconds()
	left := time.Duration(float64(all-done) / rate * float64(time.Second)).Round(time.Second)
	return line + fmt.Sprintf("  %.0f/s  %v left", rate, left)
}

// clear leaves an empty line, for what is printed next.
func (b *bar) clear() { fmt.Fprint(b.out, toLineStart+eraseRest) }
