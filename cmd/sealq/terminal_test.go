//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// newTerminal makes a terminal of its own: what is written to its inner side, which programs take for a terminal, is read from the outer one.
func newTerminal(columns uint16) (outer, inner *os.File, err error) {
	if outer, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	// Not Fd, which would make reads block whatever is closed.
	raw, err := outer.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(err, outer.Close())
	}
	var number int
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = errors.Join(unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: columns}))
		if failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err = errors.Join(err, failed); err == nil {
		inner, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, outer.Close())
	}
	return outer, inner, nil
}

// onTerminal runs sealq on a terminal. All that is written to it is the standard output, and what a person sees in the end is the file "screen".
func (w *world) onTerminal(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: terminal COLUMNS sealq …")
	}
	columns, err := strconv.ParseUint(args[0], 10, 16)
	ts.Check(err)
	outer, inner, err := newTerminal(uint16(columns))
	ts.Check(err)
	defer func() { ts.Check(outer.Close()) }()
	cmd := w.command(ts, args[1:])
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inner, inner, inner
	err = cmd.Start()
	ts.Check(errors.Join(err, inner.Close())) // the process has its own
	written, err := io.ReadAll(outer)
	if !errors.Is(err, syscall.EIO) { // how Linux says that nobody has the inner side any more
		ts.Check(err)
	}
	ended := cmd.Wait()
	if ended != nil {
		ts.Logf("%s", written)
	}
	ts.Check(ended)
	_, err = ts.Stdout().Write(written)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(screen(string(written))), 0o600))
}

// screen is what is left of what was written, on a terminal that is wide enough.
func screen(written string) string {
	var lines strings.Builder
	var line []rune
	at := 0
	for len(written) > 0 {
		if rest, erases := strings.CutPrefix(written, eraseRest); erases {
			line, written = line[:min(at, len(line))], rest
			continue
		}
		r, size := utf8.DecodeRuneInString(written)
		written = written[size:]
		switch r {
		case '\r':
			at = 0
		case '\n':
			lines.WriteString(string(line) + "\n")
			line, at = nil, 0
		default:
			line = append(line[:at], append([]rune{r}, line[min(at+1, len(line)):]...)...)
			at++
		}
	}
	return lines.String() + string(line)
}
