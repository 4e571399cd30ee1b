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

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/signing"
)

// processEnv tells this test binary that it is one of a test's processes, and which.
const processEnv = "SEALQ_SURVIVAL_PROCESS"

// process says what a process is to be, and where its servers are.
type process struct {
	Role     string        `json:"role"`
	Database string        `json:"database"`
	Redis    string        `json:"redis"`
	Ring     string        `json:"ring"`
	Seed     uint64        `json:"seed"`
	Jobs     int           `json:"jobs"` // to be recorded, by the enqueuer
	Over     time.Duration `json:"over"` // in about that time
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

// atOnce is how many tests run side by side, also where there are fewer cores: they wait more than they work.
const atOnce = "4"

func runTests(m *testing.M) int {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
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
	roles := map[string]func(context.Context) error{"enqueuer": p.enqueue, "relay": p.relay, "worker": p.work, "hostile": p.harm}
	do, ok := roles[p.Role]
	if !ok {
		return fmt.Errorf("no such role: %q", p.Role)
	}
	return do(ctx)
}

func (p process) logger() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }

func (p process) client() (*redis.Client, error) {
	options, err := redis.ParseURL(p.Redis)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(options), nil
}

// keys are needed for a little longer than ctx: until running tasks are done.
func (p process) keys(ctx context.Context) (*signing.Keys, error) {
	return signing.Open(context.WithoutCancel(ctx), "file:"+p.Ring, "survival")
}

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
	p.Database, p.Redis, p.Ring, p.Seed = s.databaseURL, s.redisURL, s.ringFile, s.seed+uint64(s.processes)
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
