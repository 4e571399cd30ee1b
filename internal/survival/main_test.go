package survival_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// processEnv tells this test binary that it is one of a test's processes, and which.
const processEnv = "SEALQ_SURVIVAL_PROCESS"

// process says what a process is to be, and where its servers are.
type process struct {
	Role     string        `json:"role"`
	Number   int           `json:"number"` // its own in its system
	Database string        `json:"database"`
	Redis    string        `json:"redis"`
	Ring     string        `json:"ring"`
	Seed     uint64        `json:"seed"`
	ClockOff time.Duration `json:"clock_off"` // of all that takes an injected clock; asynq's own is the host's

	// An enqueuer's.
	Jobs    int           `json:"jobs"` // to be recorded
	Over    time.Duration `json:"over"` // in about that time
	Endless bool          `json:"endless"`
	Long    int           `json:"long"` // how many long jobs, and late ones, it records before all others
	Late    int           `json:"late"`

	// A worker's.
	DropIn bool          `json:"drop_in"` // an asynq server behind a Verifier, as in an app that had asynq before
	Dwell  time.Duration `json:"dwell"`   // how long each run takes; zero: as long as it takes, and begun is not written
	Grace  time.Duration `json:"grace"`   // its janitor's
}

func TestMain(m *testing.M) {
	text := os.Getenv(processEnv)
	if text == "" {
		os.Exit(runTests(m))
	}
	var p process
	err := json.Unmarshal([]byte(text), &p)
	if err == nil {
		err = p.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// atOnce is how many tests run side by side, also where there are fewer cores: they wait more than they work, but for long ones.
func atOnce() string { return sized("8", "3") }

func runTests(m *testing.M) int {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return m.Run()
}

// run does what the role does until the process is told to stop, or its test is no more.
func (p process) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() { // ends with the process: reading cannot be called off
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	roles := map[string]func(context.Context) error{
		roleEnqueuer: p.enqueue, roleRelay: p.relay, roleWorker: p.work, roleScheduler: p.schedule, roleHostile: p.harm, roleNoise: p.noise,
	}
	do, ok := roles[p.Role]
	if !ok {
		return fmt.Errorf("no such role: %q", p.Role)
	}
	if err := do(ctx); !errors.Is(err, errNotBegun) {
		return err
	}
	return nil
}

const (
	roleEnqueuer  = "enqueuer"
	roleRelay     = "relay"
	roleWorker    = "worker"
	roleScheduler = "scheduler"
	roleHostile   = "hostile"
	roleNoise     = "noise"
)

func (p process) logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }

// now is the process's clock.
func (p process) now() time.Time { return time.Now().Add(p.ClockOff) }

// running is a process that a test has started.
type running struct {
	process
	cmd  *exec.Cmd
	log  string        // path of the file with all that it says
	done chan struct{} // closed when it has ended, with err
	err  error
}

// start starts a process. What it says stands in a file, whose end is shown if t fails.
func (s *system) start(t *testing.T, p process) *running {
	t.Helper()
	p.Number, p.Database, p.Redis, p.Ring, p.Seed = s.processes, s.processDatabase, s.processRedis, s.ringFile, s.seed+uint64(s.processes)
	p.Dwell, p.Grace = s.plan.dwell, s.plan.grace
	s.processes++
	text, err := json.Marshal(p)
	check(t, err)
	r := &running{process: p, log: filepath.Join(s.logs, fmt.Sprintf("%02d-%s.log", s.processes, p.Role)), done: make(chan struct{})}
	r.cmd = exec.CommandContext(context.Background(), os.Args[0])
	r.cmd.Env = append(os.Environ(), processEnv+"="+string(text))
	log, err := os.Create(r.log)
	check(t, err)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	stdin, err := r.cmd.StdinPipe() // held open: it ends with this process
	check(t, err)
	check(t, r.cmd.Start())
	check(t, log.Close())
	go func() {
		defer close(r.done)
		r.err = r.cmd.Wait()
	}()
	t.Cleanup(func() {
		r.kill(t)
		_ = stdin.Close()
		if t.Failed() {
			t.Logf("%s said last:\n%s", filepath.Base(r.log), r.lastWords(t))
		}
	})
	return r
}

// kill is kill -9.
func (r *running) kill(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-r.done
}

// wait waits for the process's end, which must be in order.
func (r *running) wait(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-r.done:
		if r.err != nil {
			t.Errorf("a process ended badly (%s): %v", r.Role, r.err)
		}
	case <-time.After(within):
		t.Errorf("a process hangs (%s): it did not end within %v", r.Role, within)
		_ = r.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines stand in its log
		select {
		case <-r.done:
		case <-time.After(5 * time.Second):
		}
	}
}

// stop ends the process in order.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	r.wait(t, 30*time.Second)
}

func (r *running) lastWords(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(r.log)
	check(t, err)
	return string(text[max(0, len(text)-1500):])
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
