package authworker_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
)

// processEnv tells this test binary that it is the worker of a test, and where its servers are.
const processEnv = "SEALQ_AUTHWORKER_PROCESS"

// process is a worker with its relay, in a process of its own.
type process struct {
	Database, Redis, Ring, SMTP string
}

func TestMain(m *testing.M) {
	text := os.Getenv(processEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var p process
	err := json.Unmarshal([]byte(text), &p)
	if err == nil {
		err = p.run()
	}
	fmt.Fprintln(os.Stderr, "the worker ended:", err)
	os.Exit(1)
}

// run works until somebody kills it.
func (p process) run() error {
	options, err := redis.ParseURL(p.Redis)
	if err != nil {
		return err
	}
	s := &system{path: p.Database, ringFile: p.Ring, redis: redis.NewClient(options)}
	if err := s.open(context.Background()); err != nil {
		return err
	}
	sender, err := mail.NewSender(mail.Config{URL: p.SMTP, From: "no-reply@app.example"})
	if err != nil {
		return err
	}
	srv, handler, err := s.assemble(sender, telling{s.db})
	if err != nil {
		return err
	}
	if err := srv.Start(handler); err != nil {
		return err
	}
	return s.relay.Run(context.Background())
}

const recording = "recording"

// telling is a store that says when a mail that was accepted is about to be recorded, and waits for what comes of that: it is killed, or its
// test is over.
type telling struct{ backend }

func (s telling) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx *sql.Tx) error) (bool, error) {
	fmt.Fprintln(os.Stdout, recording)
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return s.backend.Once(ctx, e, fn)
}

// startProcess starts the worker. said is closed when it is about to record a mail; dead kills it, as kill -9 does.
func (s *system) startProcess(t *testing.T, smtp string) (said <-chan struct{}, dead func()) {
	t.Helper()
	text, err := json.Marshal(process{Database: s.path, Redis: s.server.URL(), Ring: s.ringFile, SMTP: smtp})
	check(t, err)
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), processEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // held open: it ends with this process
	check(t, err)
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	about := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if lines.Text() == recording {
				close(about)
			}
		}
	})
	dead = sync.OnceFunc(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		reading.Wait()
		_ = cmd.Wait() // killed
		_ = stdin.Close()
	})
	t.Cleanup(dead)
	return about, dead
}

func TestAWorkerKilledBetweenThe250AndItsRecordMakesOneSecondCopyWithTheSameMessageID(t *testing.T) {
	t.Parallel()
	for name, answered := range map[string]bool{
		"the 250 is on its way to it":               false,
		"it has the 250, and is about to record it": true,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newIdleSystem(t, nil)
			acceptance := &gate{held: make(chan struct{}), let: make(chan struct{})}
			recorded, kill := s.startProcess(t, "smtp://"+acceptance.before(t, s.mails.Addr())+"?tls=none")
			s.register(t, ada)
			waitFor(t, acceptance.held, "the server takes the mail")
			if answered {
				close(acceptance.let)
				waitFor(t, recorded, "the worker has the answer")
			}
			kill()
			if !answered {
				close(acceptance.let)
			}

			first := s.mailsOf(t)[0]
			if n := len(s.mails.Messages()); n != 1 || !first.SentAt.IsZero() || first.Tries != 1 || !first.LeaseUntil.After(time.Now()) {
				t.Fatalf("%d mails are out, and the database has %+v", n, first)
			}
			// Its leases end by themselves: that of the mail, and asynq's.
			s.sql(t, `UPDATE mails SET lease_until = 0`)
			long := float64(time.Now().Add(-time.Hour).Unix())
			check(t, s.redis.ZAdd(t.Context(), "asynq:{mail}:lease", redis.Z{Score: long, Member: first.Row.TaskID()}).Err())
			s.serve(t, s.db)
			inspector := asynq.NewInspectorFromRedisClient(s.redis)
			eventually(t, "another worker sends it", func() bool {
				_, err := inspector.RunAllRetryTasks(jobs.QueueMail)
				check(t, err)
				return len(s.mails.Messages()) == 2
			})
			mails := s.sent(t)
			if len(mails) != 2 {
				t.Fatalf("%d copies, want two", len(mails))
			}
			if diff := cmp.Diff(string(mails[0].Data), string(mails[1].Data)); diff != "" || mails[0].MessageID != first.MessageID {
				t.Errorf("the Message-ID is %q, want %q, and the copies differ (-first +second):\n%s", mails[0].MessageID, first.MessageID, diff)
			}
			// What `sealq explain` tells: two tries, of which the first left no word, since its worker ended in the middle.
			last := s.mailsOf(t)[0]
			tries, err := s.db.AttemptsOf(t.Context(), last.Row.ID)
			check(t, err)
			if last.Tries != 2 || len(tries) != 1 || tries[0].Try != 2 || tries[0].Outcome != authjobs.MailDelivered || last.Row.State != jobs.RowDone {
				t.Errorf("%d tries, row %s: %+v", last.Tries, last.Row.State, tries)
			}
		})
	}
}

func waitFor(t *testing.T, happened <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(patience):
		t.Fatalf("did not happen within %v: %s", patience, what)
	}
}

// gate holds the acceptance of a mail on its way from the server to the worker.
type gate struct {
	held, let chan struct{}
}

func (g *gate) before(t *testing.T, addr string) string {
	t.Helper()
	data := false // since the last of the client's commands
	return proxied(t, addr, func(piece []byte) []byte {
		switch {
		case bytes.HasPrefix(piece, []byte("354")):
			data = true
		case data:
			close(g.held)
			<-g.let
			data = false
		}
		return piece
	})
}

// proxied stands before a server and changes what it says, piece by piece: its answers come in one each.
func proxied(t *testing.T, addr string, change func([]byte) []byte) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() {
		stop()
		_ = listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err != nil {
				_ = near.Close()
				continue
			}
			cut := context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })
			all.Go(func() { pass(far, near, func(piece []byte) []byte { return piece }) })
			all.Go(func() { defer cut(); pass(near, far, change) })
		}
	})
	return listener.Addr().String()
}

func pass(to, from net.Conn, change func([]byte) []byte) {
	defer to.Close()
	for buf := make([]byte, 4096); ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(change(buf[:n])); err != nil {
			return
		}
	}
}
