package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealq/sealq/internal/testservers"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"withservers": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"answers": answers,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("REDIS_URL", testservers.Redis(t).URL())
			env.Setenv("POSTGRES_URL", testservers.Postgres(t))
			dir, err := os.MkdirTemp("", "scripts-") //nolint:usetesting // t.TempDir is closed to the user that PostgreSQL runs as
			if err != nil {
				return err
			}
			env.Defer(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			env.Setenv("TMPDIR", dir)
			return os.Chmod(dir, 0o711) // PostgreSQL's user passes through
		},
	})
}

// answers FILE succeeds when something accepts connections at the PostgreSQL URL
// in the file; negated, when nothing does any more, for which it waits.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	config, err := pgx.ParseConfig(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	address := net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", address)
		if err == nil {
			ts.Check(conn.Close())
		}
		switch {
		case neg == (err != nil):
			return
		case !neg || time.Now().After(deadline):
			ts.Fatalf("dial %s: %v", address, err)
		}
	}
}

// running is withservers around a shell command that has said "ready".
type running struct {
	signals chan os.Signal
	out     string // path of what the command wrote
	code    chan int
}

// start runs script, which prints "ready" once signals may come. The servers
// are those of the surrounding test run: these tests are about the command.
func start(t *testing.T, script string) *running {
	t.Helper()
	r := &running{signals: make(chan os.Signal, 2), out: filepath.Join(t.TempDir(), "out"), code: make(chan int, 1)}
	// A file, not a buffer: nobody has to read it for the command to end.
	file, err := os.Create(r.out)
	if err != nil {
		t.Fatal(err)
	}
	environ := append(os.Environ(),
		testservers.RedisURLEnv+"="+testservers.Redis(t).URL(),
		testservers.PostgresURLEnv+"="+testservers.Postgres(t))
	ctx := context.WithoutCancel(t.Context())
	go func() {
		code := run(ctx, []string{"sh", "-c", script}, environ, r.signals, file, file)
		_ = file.Close()
		r.code <- code
	}()
	eventually(t, "the command is ready", func() bool { return strings.Contains(r.said(t), "ready") })
	return r
}

func (r *running) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(r.out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (r *running) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-r.code:
		return code
	case <-time.After(30 * time.Second):
		t.Fatal("withservers has not ended after 30 s")
		return 0
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("not so after 30 s: %s", what)
		case <-tick.C:
		}
	}
}

func TestSignalsReachTheCommandAndItsChildren(t *testing.T) {
	t.Parallel()
	r := start(t, `trap 'echo parent; wait; exit 7' TERM
(trap 'echo child; exit 0' TERM; echo ready; while :; do read -r _ </dev/null || true; done) & wait`)
	r.signals <- syscall.SIGTERM
	if code := r.wait(t); code != 7 {
		t.Errorf("exit code %d, want the command's own, 7", code)
	}
	for _, who := range []string{"parent", "child"} {
		if !strings.Contains(r.said(t), who) {
			t.Errorf("the %s did not get the signal", who)
		}
	}
}

func TestSecondSignalKills(t *testing.T) {
	t.Parallel()
	r := start(t, `trap 'echo deaf' TERM; echo ready; while :; do read -r _ </dev/null || true; done`)
	r.signals <- syscall.SIGTERM
	eventually(t, "the first signal is ignored", func() bool { return strings.Contains(r.said(t), "deaf") })
	r.signals <- syscall.SIGTERM
	if code, want := r.wait(t), 128+int(syscall.SIGKILL); code != want {
		t.Errorf("exit code %d, want that of a killed command, %d", code, want)
	}
}

func TestNothingOfTheCommandRunsOn(t *testing.T) {
	t.Parallel()
	r := start(t, `sleep 1000 & echo "left $!"; echo ready`)
	if code := r.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	_, rest, _ := strings.Cut(r.said(t), "left ")
	pid, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process that the command left is gone", func() bool {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || isZombie(pid)
	})
}

// isZombie says whether pid has ended and only waits for its parent to look,
// which in a container without a proper first process is never.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestSignalBeforeTheCommandEndsThePreparations(t *testing.T) {
	t.Parallel()
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGINT
	var stderr strings.Builder
	mute, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	environ := []string{testservers.RedisURLEnv + "=redis://" + mute.Addr().String() + "/0?max_retries=-1"}
	code := run(t.Context(), []string{"true"}, environ, signals, io.Discard, &stderr)
	if code != exitNoServers || !strings.Contains(stderr.String(), "ended by signal: interrupt") {
		t.Errorf("exit code %d, said %q; want %d and the signal", code, stderr.String(), exitNoServers)
	}
}

func TestMissingSoftwareIsOneSentence(t *testing.T) {
	t.Parallel()
	err := &missingError{missing: []software{
		{name: "redis-server", debian: "redis-server", urlEnv: "REDIS"},
		{name: "PostgreSQL's server", debian: "postgresql", urlEnv: "POSTGRES"},
	}, cause: errNotRoot}
	want := "the tests need redis-server and PostgreSQL's server, not found on this machine (and only root may install packages): " +
		"install it (on Debian: apt-get install redis-server postgresql), or set REDIS and POSTGRES"
	if got := err.Error(); got != want {
		t.Errorf("want %q\n got %q", want, got)
	}
	if !errors.Is(err, errNotRoot) {
		t.Error("the cause is lost")
	}
}
