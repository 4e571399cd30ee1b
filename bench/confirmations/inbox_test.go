package confirmations_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sealq/sealq/mail/catcher"
)

// inboxEnv tells this test binary that it is the mail server.
const inboxEnv = "SEALQ_BENCH_INBOX"

func TestMain(m *testing.M) {
	if os.Getenv(inboxEnv) == "" {
		os.Exit(m.Run())
	}
	if err := serveInbox(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveInbox takes mails until in ends. For each line of in it says who got which mail, and forgets it.
func serveInbox(in io.Reader, out io.Writer) error {
	c, err := catcher.StartWith("127.0.0.1:0", catcher.Options{Keep: 4 * all, KeepBytes: 1 << 30})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	fmt.Fprintln(out, c.Addr())
	for lines := bufio.NewScanner(in); lines.Scan(); {
		w := bufio.NewWriter(out)
		for _, m := range c.Messages() {
			fmt.Fprintln(w, strings.Join(m.To, ","), m.MessageID)
		}
		fmt.Fprintln(w)
		if err := w.Flush(); err != nil {
			return err
		}
		c.Forget()
	}
	return nil
}

// inbox is the mail server as the benchmark sees it.
type inbox struct {
	addr string
	pid  int
	ask  io.Writer
	told *bufio.Scanner
}

func startInbox(b *testing.B) *inbox {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), inboxEnv+"=1")
	cmd.Stderr = os.Stderr
	ask, err := cmd.StdinPipe()
	must(b, err)
	told, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = ask.Close() // it ends
		_ = cmd.Wait()
	})
	i := &inbox{pid: cmd.Process.Pid, ask: ask, told: bufio.NewScanner(told)}
	if !i.told.Scan() {
		b.Fatal("the mail server did not start")
	}
	i.addr = i.told.Text()
	return i
}

// take is what came since it was asked last: the Message-IDs of each recipient's mails.
func (i *inbox) take() (map[string][]string, error) {
	if _, err := fmt.Fprintln(i.ask); err != nil {
		return nil, err
	}
	got := make(map[string][]string)
	for i.told.Scan() && i.told.Text() != "" {
		to, id, _ := strings.Cut(i.told.Text(), " ")
		got[to] = append(got[to], id)
	}
	return got, i.told.Err()
}
