// Command withservers runs a command with a real Redis and a real PostgreSQL at
// hand, and leaves nothing behind:
//
//	withservers go test ./...
//	withservers --browser go test ./...
//
// The second form sees to it that there is a Chromium, too. It finds
// redis-server and PostgreSQL's binaries, installs Debian's packages
// where they are missing and it may, or takes the servers that
// SEALQ_TEST_REDIS_URL and SEALQ_TEST_POSTGRES_URL name. It starts PostgreSQL
// once for all tests (each test makes a database in it) and hands on the path
// of redis-server (each test starts its own). It refuses to run the command
// when a server cannot be had, with one sentence that says what to do.
//
// Its exit code is the command's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	// The kernel ends PostgreSQL with the thread that started it: this one
	// lives as long as the process.
	runtime.LockOSThread()
	// From here on signals are the command's, and the servers are stopped after it.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), signals, os.Stdout, os.Stderr))
}

// Exit codes of withservers itself; the rest are the command's.
const (
	exitNoServers = 1
	exitUsage     = 2
)

func run(ctx context.Context, args, environ []string, signals <-chan os.Signal, stdout, stderr io.Writer) (code int) {
	browser := len(args) > 0 && args[0] == "--browser"
	if browser {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(stderr, "usage: withservers [--browser] COMMAND [ARGUMENT]…")
		return exitUsage
	}
	setup, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready := make(chan struct{})
	watched := make(chan struct{})
	go func() { // a signal before the command runs ends the preparations
		defer close(watched)
		select {
		case sig := <-signals:
			cancel(fmt.Errorf("ended by signal: %s", sig))
		case <-ready:
		}
	}()
	s, err := prepare(setup, environ, browser, stderr)
	close(ready)
	<-watched
	if cause := context.Cause(setup); cause != nil {
		err = cause
	}
	defer func() {
		if err := s.close(); err != nil {
			fmt.Fprintf(stderr, "withservers: stop the servers: %s\n", err)
			code = max(code, exitNoServers)
		}
	}()
	if err != nil {
		fmt.Fprintf(stderr, "withservers: %s\n", sentence(err))
		return exitNoServers
	}
	return execute(ctx, args, s.environ, signals, stdout, stderr)
}

// sentence returns what a person should read.
func sentence(err error) string {
	if missing, ok := errors.AsType[*missingError](err); ok {
		return missing.Error()
	}
	return err.Error()
}
