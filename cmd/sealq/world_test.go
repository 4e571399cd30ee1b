package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/internal/testservers/instance"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// world is what stands around one script.
type world struct {
	t       testing.TB
	redis   *testservers.RedisServer
	mails   *catcher.Catcher
	stalls  chan struct{} // a mail is stalled for each
	running map[string]*process
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return &world{t: t, stalls: make(chan struct{}, 100), running: make(map[string]*process)}
}

func (w *world) useRedis(ts *testscript.TestScript, args []string) {
	switch {
	case len(args) == 0:
		w.redis = testservers.Redis(w.t)
		ts.Setenv("SEALQ_REDIS_URL", w.redis.URL())
	case args[0] == "stop":
		w.redis.Stop(w.t)
	default:
		w.redis.Start(w.t)
	}
}

func (w *world) usePostgres(ts *testscript.TestScript, _ []string) {
	ts.Setenv("SEALQ_DATABASE_URL", testservers.Postgres(w.t))
}

func (w *world) useMail(ts *testscript.TestScript, args []string) {
	var options catcher.Options
	if len(args) > 0 {
		options.Hook = w.stall
	}
	mails, err := catcher.StartWith("127.0.0.1:0", options)
	ts.Check(err)
	ts.Defer(func() { ts.Check(mails.Close()) })
	w.mails = mails
	ts.Setenv("SEALQ_SMTP_URL", mails.URL())
}

// stall leaves a client without an answer to its mail until the server stops.
func (w *world) stall(ctx context.Context, s catcher.Step) error {
	if s.Stage == catcher.StageData {
		w.stalls <- struct{}{}
		<-ctx.Done()
	}
	return nil
}

func (w *world) stalled(ts *testscript.TestScript, _ []string) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.stalls:
	case <-timer.C:
		ts.Fatalf("waited %v for a mail to stall", patience)
	}
}

func (w *world) waitMail(ts *testscript.TestScript, args []string) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	mail, err := w.mails.Wait(ctx, func(c catcher.Caught) bool { return slices.Contains(c.To, args[0]) })
	ts.Check(err)
	link, err := url.Parse(mail.Link())
	ts.Check(err)
	ts.Setenv("KEY", link.Query().Get("key"))
	link.RawQuery = ""
	ts.Setenv("PAGE", link.String())
}

func (w *world) forge(ts *testscript.TestScript, args []string) {
	client := asynq.NewClientFromRedisClient(w.redis.Client(w.t))
	_, err := client.EnqueueContext(w.t.Context(), asynq.NewTask(args[0], []byte("forged")), asynq.Queue("critical"))
	ts.Check(err)
}

// poke sends Redis one command. What begins with a double quote is a Go string.
func (w *world) poke(ts *testscript.TestScript, args []string) {
	command := make([]any, len(args))
	for i, arg := range args {
		command[i] = arg
		if text, err := strconv.Unquote(arg); err == nil && strings.HasPrefix(arg, `"`) {
			command[i] = text
		}
	}
	ts.Check(w.redis.Client(w.t).Do(w.t.Context(), command...).Err())
}

// sql asks the script's SQLite database, or changes it as nobody but a test does.
func (w *world) sql(ts *testscript.TestScript, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs("sealq.db"))
	ts.Check(err)
	defer db.Close()
	rows, err := db.QueryContext(w.t.Context(), args[0])
	ts.Check(err)
	defer rows.Close()
	for rows.Next() {
		var value string
		ts.Check(rows.Scan(&value))
		fmt.Fprintln(ts.Stdout(), value)
	}
	ts.Check(rows.Err())
}

// id takes the ID out of what was just printed as JSON.
func (w *world) id(ts *testscript.TestScript, _ []string) {
	var printed struct{ ID string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &printed))
	ts.Setenv("ID", printed.ID)
}

func (w *world) takePort(ts *testscript.TestScript, _ []string) {
	l, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ts.Check(l.Close()) })
	ts.Setenv("TAKEN", l.Addr().String())
}

// closedPort reserves a port that no test server takes, and does not listen there.
func (w *world) closedPort(ts *testscript.TestScript, _ []string) {
	port, err := instance.ReservePort(w.t.Context())
	ts.Check(err)
	ts.Defer(func() { ts.Check(port.Release()) })
	ts.Setenv("CLOSED", port.Addr())
}

// kid finds the newest key of a state.
func (w *world) kid(ts *testscript.TestScript, args []string) {
	from := "keys.json"
	if len(args) > 1 {
		from = args[1]
	}
	var ring struct {
		Keys []struct{ KID, State string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(from)), &ring))
	for _, k := range slices.Backward(ring.Keys) {
		if k.State == args[0] {
			ts.Setenv("KID", k.KID)
			return
		}
	}
	ts.Fatalf("no key is %s", args[0])
}

func (w *world) process(ts *testscript.TestScript, args []string) {
	host, err := os.Hostname()
	ts.Check(err)
	ts.Setenv("PROCESS", fmt.Sprintf("%s/%d", host, w.running[args[0]].cmd.Process.Pid))
}

// age makes the ring of $SEALQ_KEYS older.
func (w *world) age(ts *testscript.TestScript, args []string) {
	by, err := time.ParseDuration(args[0])
	ts.Check(err)
	older := func(r *signing.Ring) (*signing.Ring, error) { return aged(r, by) }
	if ts.Getenv("SEALQ_KEYS") != "database" {
		_, err := signing.NewFile(ts.MkAbs("keys.json")).Update(w.t.Context(), older)
		ts.Check(err)
		return
	}
	url := ts.Getenv("SEALQ_DATABASE_URL")
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		url = "sqlite:" + ts.MkAbs(path)
	}
	db, err := app.Open(w.t.Context(), url)
	ts.Check(err)
	defer db.Close()
	kek, err := signing.LoadKEK(ts.MkAbs(ts.Getenv("SEALQ_KEK_FILE")))
	ts.Check(err)
	vault, err := signing.NewDatabase(db, kek)
	ts.Check(err)
	_, err = vault.Update(w.t.Context(), older)
	ts.Check(err)
}

// aged is the next version of a ring, with all its times so much earlier.
func aged(r *signing.Ring, by time.Duration) (*signing.Ring, error) {
	var document map[string]any
	if err := json.Unmarshal(r.Marshal(), &document); err != nil {
		return nil, err
	}
	document["version"] = r.Version() + 1
	for _, k := range document["keys"].([]any) {
		key := k.(map[string]any)
		for _, name := range []string{"created_at", "sign_from", "sign_until", "verify_until"} {
			text, ok := key[name].(string)
			if !ok {
				continue // null
			}
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return nil, err
			}
			key[name] = at.Add(-by).Format(time.RFC3339Nano)
		}
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	return signing.ParseRing(text)
}

// entry takes the ID of the newest entry from a list of the quarantine.
func (w *world) entry(ts *testscript.TestScript, _ []string) {
	var entries []struct{ ID string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &entries))
	if len(entries) == 0 {
		ts.Fatalf("the quarantine is empty")
	}
	ts.Setenv("ENTRY", entries[0].ID)
}

// refused puts a task that the ring in keys.json signed into the database's quarantine, as a worker keeps it.
func (w *world) refused(ts *testscript.TestScript, args []string) {
	name, task, reason := args[0], signing.Task{Kind: "lockouts:reset", ID: args[1], Queue: "critical", MaxRetry: 103, Payload: []byte(`{"tick":"","limit":1}`)}, signing.Reason(args[2])
	ago, unsigned, altered := time.Duration(0), false, false
	task.Headers = make(map[string]string)
	for _, option := range args[3:] {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "unsigned":
			unsigned = true
		case "altered":
			altered = true
		case "ago":
			var err error
			ago, err = time.ParseDuration(value)
			ts.Check(err)
		case "effect":
			task.Headers[signing.EffectHeader] = value
		case "kind":
			task.Kind = value
		case "queue":
			task.Queue = value
		case "payload":
			task.Payload = []byte(value)
		default:
			ts.Fatalf("refused does not know %s", option)
		}
	}
	signed := time.Now().Add(-ago)
	keys, err := signing.OpenWith(w.t.Context(), signing.NewFile(ts.MkAbs("keys.json")), ts.Getenv("SEALQ_AUDIENCE"), signing.Options{Now: func() time.Time { return signed }})
	ts.Check(err)
	defer keys.Close()
	if !unsigned {
		sig, _, err := keys.Sign(task, signing.Validity{Expires: signed.Add(time.Hour)})
		ts.Check(err)
		task.Headers[signing.SignatureHeader] = sig
	}
	if altered {
		task.Payload = append(task.Payload, ' ')
	}
	db, err := app.Open(w.t.Context(), strings.Replace(ts.Getenv("SEALQ_DATABASE_URL"), "sqlite:", "sqlite:"+ts.MkAbs(".")+"/", 1))
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	entry := jobs.Refused{
		ID: uuid.NewString(), TaskID: task.ID, Queue: task.Queue, Kind: task.Kind, Headers: task.Headers, MaxRetry: task.MaxRetry,
		Payload: task.Payload, Size: int64(len(task.Payload)), PayloadSHA256: sha256.Sum256(task.Payload), Reason: reason,
		Detail: "of the test", Authentic: reason.Authentic(), ReceivedAt: signed.Truncate(time.Second),
	}
	ts.Check(db.(worker.Quarantine).Keep(w.t.Context(), entry))
	ts.Setenv(name, entry.ID)
}

// emptyRedis requires that nothing was written into Redis.
func (w *world) emptyRedis(ts *testscript.TestScript, _ []string) {
	keys, err := w.redis.Client(w.t).Keys(w.t.Context(), "*").Result()
	ts.Check(err)
	if len(keys) > 0 {
		ts.Fatalf("Redis holds %q", keys)
	}
}

// process is a sealq that a script started.
type process struct {
	cmd    *exec.Cmd
	logged chan string // all that it logged, once it has ended

	mu    sync.Mutex
	sofar strings.Builder
}

func (w *world) start(ts *testscript.TestScript, args []string) {
	name, args := args[0], args[1:]
	cmd := w.command(ts, append(args, "--listen", "127.0.0.1:0", "--log-format", "json"))
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	printed, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	cmd.Stdout = printed
	ts.Check(cmd.Start())
	ts.Check(printed.Close()) // the process has its own
	p := &process{cmd: cmd, logged: make(chan string, 1)}
	listening := make(chan string, 1)
	go p.follow(stderr, listening)
	w.running[name] = p
	ts.Defer(func() { p.kill() })
	addr, ok := <-listening
	if !ok {
		ts.Fatalf("%s ended:\n%s", name, <-p.logged)
	}
	ts.Setenv(name+"_addr", addr)
}

// command is one in the script's directory and environment.
func (w *world) command(ts *testscript.TestScript, args []string) *exec.Cmd {
	binary, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.CommandContext(w.t.Context(), binary, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, variable := range []string{
		"PATH", "HOME", "TMPDIR", "SEALQ_REDIS_URL", "SEALQ_DATABASE_URL", "SEALQ_SMTP_URL", "SEALQ_SMTP_URL_FILE", "SEALQ_MAIL_FROM", "SEALQ_AUDIENCE",
		"SEALQ_KEYS", "SEALQ_KEK_FILE",
	} {
		if value := ts.Getenv(variable); value != "" {
			cmd.Env = append(cmd.Env, variable+"="+value)
		}
	}
	return cmd
}

// follow reads the log to its end, and tells where the process listens.
func (p *process) follow(stderr io.Reader, listening chan<- string) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.mu.Lock()
		p.sofar.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		var entry struct{ Msg, Listen string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "started" {
			listening <- entry.Listen
		}
	}
	close(listening)
	p.logged <- p.log()
}

// log is what the process has logged so far.
func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sofar.String()
}

func (w *world) waitLog(ts *testscript.TestScript, args []string) {
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	poll(ts, "the log of "+args[0]+" to match "+args[1], func() bool { return pattern.MatchString(w.running[args[0]].log()) })
}

func (w *world) finish(ts *testscript.TestScript, args []string) { w.end(ts, args[0], syscall.SIGTERM) }

func (w *world) interrupt(ts *testscript.TestScript, args []string) {
	w.end(ts, args[0], syscall.SIGINT)
}

// end sends the signal; the process must end with exit code 0 in time.
func (w *world) end(ts *testscript.TestScript, name string, by os.Signal) {
	p := w.running[name]
	ts.Check(p.cmd.Process.Signal(by))
	timer := time.AfterFunc(patience, p.kill)
	defer timer.Stop()
	log := <-p.logged
	_, err := io.WriteString(ts.Stderr(), log)
	ts.Check(err)
	ts.Check(p.cmd.Wait())
}

func (w *world) hangup(ts *testscript.TestScript, args []string) {
	ts.Check(w.running[args[0]].cmd.Process.Signal(syscall.SIGHUP))
}

func (w *world) terminate(ts *testscript.TestScript, args []string) {
	ts.Check(w.running[args[0]].cmd.Process.Signal(syscall.SIGTERM))
}

func (w *world) killed(ts *testscript.TestScript, args []string) {
	w.terminate(ts, args)
	p := w.running[args[0]]
	timer := time.AfterFunc(patience, p.kill)
	defer timer.Stop()
	<-p.logged
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		ts.Fatalf("it ended with %v, not of the second SIGTERM", err)
	}
}

func (p *process) kill() { _ = p.cmd.Process.Kill() } // it has ended, mostly

// get asks for an address, with headers as pairs.
func get(ts *testscript.TestScript, address string, headers ...string) (int, []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	ts.Check(err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	inSession(ts, request)
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	return response.StatusCode, body
}
