package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
)

// block is a piece of a runbook: commands, and what they print.
type block struct {
	section  string // the heading that it stands under
	commands string
	prints   string
}

// readRunbook takes the sh blocks out of a runbook, each with the text block that follows it.
func readRunbook(t *testing.T, name string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbooks", name))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	section, fence := "", ""
	for line := range strings.Lines(string(text)) {
		switch marked, isFence := strings.CutPrefix(line, "```"); {
		case isFence && fence == "":
			if fence = strings.TrimSpace(marked); fence == "sh" {
				blocks = append(blocks, block{section: section})
			}
		case isFence:
			fence = ""
		case fence == "sh":
			blocks[len(blocks)-1].commands += line
		case fence == "text":
			blocks[len(blocks)-1].prints += line
		case fence != "":
			t.Fatalf("%s has a block of %q, which nobody tests", name, fence)
		case strings.HasPrefix(line, "## "):
			section = strings.TrimSpace(line[3:])
		}
	}
	return blocks
}

// plain takes out of what is printed whatever differs from run to run.
func plain(text string) string {
	for _, r := range []struct{ pattern, with string }{
		{`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`, "ID"},
		{`\b[0-9a-f]{32}\b`, "CHECK"},
		{`\b[0-9a-f]{8}\b`, "KID"},
		{`\b20[0-9]{2}-[0-9-]+T[0-9:]+Z`, "TIME"},
		{`(?m)^\S+/[0-9]+\b`, "PROCESS"},
		{`known to \S+/[0-9]+\b`, "known to PROCESS"},
		{`\b[0-9]+ unused links?\b`, "N unused links"}, // the command voids them, or a worker that was quicker
		{`\b[0-9]+s ago\b`, "AGE ago"},
		{`\b127\.0\.0\.1:[0-9]+, [0-9.]+m?s,`, "SERVER, TOOK,"},
		{` +`, " "},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return text
}

// night is a deployment that an operator works on: a worker with its servers, a folder, and a shell in it.
type night struct {
	*testing.T
	dir    string
	env    []string
	db     app.Database
	queue  *testservers.RedisServer
	mails  *catcher.Catcher
	denied atomic.Bool // the mail server takes nothing
	stdin  io.Writer
	stdout *bufio.Reader
}

func newNight(t *testing.T) *night {
	t.Helper()
	n := &night{T: t, dir: t.TempDir()}
	var err error
	n.mails, err = catcher.StartWith("127.0.0.1:0", catcher.Options{Hook: func(_ context.Context, s catcher.Step) error {
		if s.Stage == catcher.StageRcpt && n.denied.Load() {
			return catcher.Answer(554, "relaying denied")
		}
		return nil
	}})
	n.check(err)
	t.Cleanup(func() { n.check(n.mails.Close()) })
	n.queue = testservers.Redis(t)
	database := "sqlite:" + filepath.Join(n.dir, "sealq.db")
	n.env = append(os.Environ(),
		"SEALQ_REDIS_URL="+n.queue.URL(), "SEALQ_DATABASE_URL="+database, "SEALQ_SMTP_URL="+n.mails.URL(),
		"SEALQ_AUDIENCE=prod-eu", "SEALQ_MAIL_FROM=no-reply@example.com", "SEALQ_KEYS=file:keys.json", "SEALQ_OVERDUE=1s")
	n.sealq("", "keys", "init")
	n.sealq("", "migrate", "up")
	n.db, err = app.Open(t.Context(), database)
	n.check(err)
	t.Cleanup(func() { n.check(n.db.Close()) })
	n.serve()
	n.shell()
	return n
}

func (n *night) check(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func (n *night) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(n.Context(), name, args...)
	c.Dir, c.Env = n.dir, n.env
	return c
}

// sealq runs one command that must succeed.
func (n *night) sealq(input string, args ...string) string {
	n.Helper()
	c := n.command("sealq", args...)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		n.Fatalf("sealq %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// serve runs a worker until the test ends.
func (n *night) serve() {
	n.Helper()
	c := n.command("sealq", "serve", "--listen", "127.0.0.1:0", "--log-format", "json")
	stderr, err := c.StderrPipe()
	n.check(err)
	n.check(c.Start())
	p := &process{cmd: c, logged: make(chan string, 1)}
	listening := make(chan string, 1)
	go p.follow(stderr, listening)
	n.Cleanup(func() {
		p.kill()
		<-p.logged
		_ = c.Wait() // it was killed
		if n.Failed() {
			n.Log(p.log())
		}
	})
	if _, ok := <-listening; !ok {
		n.Fatalf("serve ended:\n%s", p.log())
	}
}

// shell starts the one shell that all blocks run in. It ends at the first command that fails.
func (n *night) shell() {
	n.Helper()
	c := n.command("sh", "-eu")
	stdin, err := c.StdinPipe()
	n.check(err)
	reader, writer, err := os.Pipe()
	n.check(err)
	c.Stdout, c.Stderr = writer, writer
	n.check(c.Start())
	n.check(writer.Close())
	n.stdin, n.stdout = stdin, bufio.NewReader(reader)
	n.Cleanup(func() {
		_ = stdin.Close() // it may have ended
		_ = c.Wait()
		_ = reader.Close()
	})
}

const mark = "-- the block has ended --"

// run runs a block and returns what it printed.
func (n *night) run(commands string) string {
	n.Helper()
	_, err := fmt.Fprintf(n.stdin, "%s\necho '%s'\n", commands, mark)
	n.check(err)
	var printed strings.Builder
	for {
		line, err := n.stdout.ReadString('\n')
		if err != nil {
			n.Fatalf("the shell has ended, because a command failed:\n%s\nIt printed:\n%s%s", commands, printed.String(), line)
		}
		if strings.TrimSpace(line) == mark {
			return printed.String()
		}
		printed.WriteString(line)
	}
}

// follow runs a runbook. before does what happens before the first block of a section.
func (n *night) follow(name string, before map[string]func()) {
	n.Helper()
	blocks := readRunbook(n.T, name)
	if len(blocks) == 0 {
		n.Fatalf("%s has no commands", name)
	}
	for i, b := range blocks {
		if do := before[b.section]; do != nil {
			do()
			delete(before, b.section)
		}
		if diff := cmp.Diff(plain(b.prints), plain(n.run(b.commands))); diff != "" {
			n.Errorf("%s, %q, block %d:\n%s(-what the runbook says +what it printed):\n%s", name, b.section, i+1, b.commands, diff)
		}
	}
	for section := range before {
		n.Errorf("%s has no section %q with commands", name, section)
	}
}

func (n *night) eventually(what string, holds func() bool) {
	n.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			n.Fatalf("waited %v for %s", patience, what)
		case <-again.C:
		}
	}
}

// reported waits until the worker has reported the version of the ring.
func (n *night) reported(version uint64) {
	n.Helper()
	n.eventually(fmt.Sprintf("the report of version %d", version), func() bool {
		reports, err := n.db.RingReports(n.Context(), signing.ReportsCount)
		n.check(err)
		return slices.ContainsFunc(reports, func(r signing.Report) bool { return r.Version == version })
	})
}

// later lets time pass for the ring in the file. It writes the ring, so that its version grows.
func (n *night) later(by time.Duration) {
	n.Helper()
	_, err := signing.NewFile(filepath.Join(n.dir, "keys.json")).Update(n.Context(), func(r *signing.Ring) (*signing.Ring, error) { return aged(r, by) })
	n.check(err)
}

// copy copies a ring's file within the folder.
func (n *night) copy(from, to string) {
	n.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, from))
	n.check(err)
	n.check(os.WriteFile(filepath.Join(n.dir, to), text, 0o600))
}

const ada, bob = "ada@example.com", "bob@example.com"

func (n *night) register(address string) {
	n.Helper()
	n.sealq("correct horse battery staple\n", "accounts", "register", "--email", address)
	n.key(address, 1)
}

// key waits for the address's mails to be as many, and returns the key of the last one's link.
func (n *night) key(address string, mails int) string {
	n.Helper()
	var last catcher.Caught
	n.eventually(fmt.Sprintf("mail %d to %s", mails, address), func() bool {
		count := 0
		for _, m := range n.mails.Messages() {
			if slices.Contains(m.To, address) {
				last = m
				count++
			}
		}
		return count >= mails
	})
	link, err := url.Parse(last.Link())
	n.check(err)
	return link.Query().Get("key")
}

// void requires that the key activates nothing.
func (n *night) void(key string) {
	n.Helper()
	if out, err := n.command("sealq", "accounts", "activate", key).CombinedOutput(); err == nil || !strings.Contains(string(out), "not valid") {
		n.Errorf("an old link: want it void, got %v, %s", err, out)
	}
}

func TestRunbookRotation(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.register(ada)
	n.follow("rotation.md", map[string]func(){
		"1. See that every process has the same ring":               func() { n.reported(1) },
		"3. Wait until every process knows it":                      func() { n.reported(2) },
		"4. Promote it, five minutes after it was published":        func() { n.later(6 * time.Minute); n.reported(3) },
		"6. Destroy the old key, when it verifies nothing any more": func() { n.later(745 * time.Hour) },
	})
	n.sealq("", "accounts", "activate", n.key(ada, 1)) // the link outlives the key that made it
	if list := n.sealq("", "quarantine", "list"); strings.Contains(list, "lockouts") {
		t.Errorf("a task was refused:\n%s", list)
	}
}

func TestRunbookLeak(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.sealq("", "keys", "rotate")
	n.reported(2)
	n.register(ada)
	n.register(bob)
	old := n.key(ada, 1)
	n.sealq("", "accounts", "activate", n.key(bob, 1))
	n.follow("leak.md", map[string]func(){
		"2. Revoke: first what does not sign, then what does": func() { n.copy("keys.json", "stolen.json") },
		"3. Bring the ring to every host, now":                func() { n.reported(4) },
		"4. See that it worked": func() {
			n.sealq("", "enqueue", "lockouts:reset", "--keys", "file:stolen.json")
			n.eventually("the thief's task in quarantine", func() bool {
				return strings.Contains(n.sealq("", "quarantine", "list"), "key_not_valid")
			})
			n.key(ada, 2)
		},
	})
	n.void(old)
	// A worker that mails before it has read the new ring makes a link that is void again, and mailed anew: the last one is good.
	n.eventually("her newest link works", func() bool { return n.command("sealq", "accounts", "activate", n.key(ada, 2)).Run() == nil })
	if shown := n.sealq("", "accounts", "show", "--email", bob); !strings.Contains(shown, "active") {
		t.Errorf("what was confirmed is so no more:\n%s", shown)
	}
}

func TestRunbookLostRing(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.register(ada)
	old := n.key(ada, 1)
	ring := filepath.Join(n.dir, "keys.json")
	lose := func() { n.check(os.Remove(ring)) }
	n.check(os.Mkdir(filepath.Join(n.dir, "backup"), 0o700))
	n.copy("keys.json", "backup/keys.json")
	n.follow("lost-ring.md", map[string]func(){
		"1. See what is wrong": lose,
		"4. There is no copy anywhere: make a new ring": func() {
			n.sealq("", "keys", "init", "--keys", "database", "--kek-file", "kek.txt")
			lose()
		},
		"5. The same with `--keys database`": func() {
			n.void(old)
			n.sealq("", "accounts", "activate", n.key(ada, 2))
		},
		"6. See that it worked": func() { n.reported(2) },
	})
}

func (n *night) archived() {
	n.eventually("the job to be dead", func() bool { return strings.Contains(n.sealq("", "tasks", "list", "mail", "--json"), `"archived"`) })
}

func TestRunbookStuckTask(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.denied.Store(true)
	n.sealq("correct horse battery staple\n", "accounts", "register", "--email", ada)
	n.archived()
	n.follow("stuck-task.md", map[string]func(){"4. Have it done anew": func() { n.denied.Store(false) }})
	n.sealq("", "accounts", "activate", n.key(ada, 1))
}
