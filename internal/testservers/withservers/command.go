package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long the command may take to end after a signal. The second
// signal, or the end of grace, kills it.
const grace = 15 * time.Second

// execute runs the command in a process group of its own, hands signals on to
// that whole group, and leaves nothing of it running.
func execute(ctx context.Context, args, environ []string, signals <-chan os.Signal, stdout, stderr io.Writer) int {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = environ
	cmd.Stdout, cmd.Stderr = stdout, stderr // no input: a group in the background may not read a terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(stderr, "withservers: %s\n", err)
		return 127 // as a shell says it
	}
	group := -cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	var kill <-chan time.Time
	for {
		select {
		case err := <-ended:
			// What the command left running would outlive its servers.
			_ = syscall.Kill(group, syscall.SIGKILL) // mostly there is nothing left: ESRCH
			return exitCode(cmd.ProcessState, err)
		case sig := <-signals:
			number, ok := sig.(syscall.Signal)
			if !ok || kill != nil {
				number = syscall.SIGKILL
			}
			kill = time.After(grace)
			_ = syscall.Kill(group, number) // it may have ended just now
		case <-kill:
			_ = syscall.Kill(group, syscall.SIGKILL)
		}
	}
}

// exitCode returns the command's exit code, or 128 + N when signal N ended it.
func exitCode(state *os.ProcessState, err error) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && state.ExitCode() == 0 {
		return 1 // it ended well, but what it wrote could not be passed on
	}
	return state.ExitCode()
}
