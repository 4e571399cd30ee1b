package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// How long a server may take to answer after its start, and to leave after a
// signal. Generous: a machine with two cores builds other packages meanwhile.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second
	pollInterval = 5 * time.Millisecond
)

// process is a running server. Its one goroutine waits for the end of the
// operating system's process; signal waits for that goroutine.
type process struct {
	cmd  *exec.Cmd
	log  string // path of the file with what the server says
	done chan struct{}
}

// startProcess starts cmd, adding what it says to the log file, and returns when
// ready says nil. ready is asked with the process's ID, so that it can tell the
// server from another one on the same port. orphaned is the signal that ends the
// server when this process is no more.
func startProcess(ctx context.Context, cmd *exec.Cmd, log string, orphaned syscall.Signal, ready func(ctx context.Context, pid int) error) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = out.Close() }() // nothing is written here: the server has a descriptor of its own
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	dieWithParent(cmd.SysProcAttr, orphaned)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // servers are ended by signals: how they end says nothing
	}()
	if err := p.await(ctx, ready); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w%s", cmd.Path, err, p.lastWords()), p.signal(syscall.SIGKILL))
	}
	return p, nil
}

func (p *process) await(ctx context.Context, ready func(ctx context.Context, pid int) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ready(ctx, p.cmd.Process.Pid)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("no answer within %s: %w", startTimeout, err)
		case <-tick.C:
		}
	}
}

// signal sends sig and waits until the process has ended.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.cmd.Path, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.cmd.Path, err)
	}
	<-p.done
	return fmt.Errorf("%s did not end within %s of %s and was killed", p.cmd.Path, stopTimeout, sig)
}

// lastWords returns the end of the server's log, to stand behind an error.
func (p *process) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "; it last said:\n\t" + strings.Join(lines[max(0, len(lines)-10):], "\n\t")
}
