// Command sealq runs an application's authentication jobs: workers that verify every task before they decode it,
// the schedules of the clean-up, and the tools of whoever operates them.
//
// It holds flags, configuration, wiring and lifecycle, and decides nothing about jobs, keys or accounts. Data
// goes to standard output, logs and errors to standard error; the exit code is 0 for done, 1 for failed and 2
// for used wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // for hosts that have no time zone data, such as an image of the binary alone

	"github.com/sealq/sealq/cmd/sealq/internal/config"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// The first signal asks to end in order. From then on signals are not caught: the second one ends at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// program is one run of the binary.
type program struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	environ []string
	now     func() time.Time
}

// run is main without the process around it. environ is as os.Environ gives it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ, now: time.Now}
	root := p.root()                                   //nolint:contextcheck // cobra hands ctx to the commands
	root.SetArgs(append([]string{}, keyLast(args)...)) // nil would mean os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(stderr, "sealq: %s\n", sentence(err))
	if isUsage(err) {
		return exitUsage
	}
	return exitFailed
}

// usageError means that the program was used wrongly.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

func wrongly(format string, args ...any) error {
	return &usageError{cause: fmt.Errorf(format, args...)}
}

func isUsage(err error) bool {
	if _, ok := errors.AsType[*usageError](err); ok {
		return true
	}
	_, ok := errors.AsType[*config.Error](err)
	return ok
}

// sentence puts an error on one line; joined errors come with line ends between them.
func sentence(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
