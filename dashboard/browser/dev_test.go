package browser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// dev is a `sealq dev --seed-data`, as whoever tries it out has it.
type dev struct {
	Dashboard string
	Seeded    struct {
		Operators map[string]string // by role
		Password  string            `json:"operators_password"`
		Address   string
	}

	recovery []string // codes of the admin, once he has enrolled
}

// startDev builds the binary and runs it until the test ends. SEALQ_TEST_BUILD are more flags for the build: make gives those of the other
// tests, whose packages are built already.
func startDev(t *testing.T) *dev {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sealq")
	build := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", binary}, strings.Fields(os.Getenv("SEALQ_TEST_BUILD"))...), "./cmd/sealq")...)
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sealq: %v\n%s", err, out)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, binary, "dev", "--seed-data", "--json", "--listen", "localhost:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stepTime
	told, said := newUp(), &sink{}
	cmd.Stdout, cmd.Stderr = told, said
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		stop()
		<-ended
		if t.Failed() {
			t.Logf("sealq dev said:\n%s", said)
		}
	})
	select {
	case <-told.whole:
	case err := <-ended:
		ended <- err
		t.Fatalf("sealq dev ended: %v\n%s", err, said)
	case <-time.After(2 * stepTime):
		t.Fatalf("sealq dev is not up after %v\n%s", 2*stepTime, said)
	}
	d := &dev{}
	check(t, json.Unmarshal(told.bytes(), d))
	return d
}

// up closes whole when a whole JSON document was written to it.
type up struct {
	mu    sync.Mutex
	text  bytes.Buffer
	whole chan struct{}
}

func newUp() *up { return &up{whole: make(chan struct{})} }

func (u *up) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := json.Valid(u.text.Bytes())
	n, err := u.text.Write(p)
	if !before && json.Valid(u.text.Bytes()) {
		close(u.whole)
	}
	return n, err
}

func (u *up) bytes() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return bytes.Clone(u.text.Bytes())
}

// comesIn logs somebody in by his role, on the login page.
func (d *dev) comesIn(t *testing.T, b *tab, role string) {
	t.Helper()
	d.givesPassword(t, b, role)
	if role == "admin" {
		d.showsCode(t, b)
	}
}

// showsCode enrols the admin if he has to, and remembers his recovery codes.
func (d *dev) showsCode(t *testing.T, b *tab) {
	t.Helper()
	b.fill(t, "code", d.code(t, b))
	b.press(t, ".first")
	if codes := eval[[]string](t, b, `[...document.querySelectorAll(".codes li")].map(e => e.innerText.trim())`); len(codes) > 0 {
		d.recovery = codes
	}
}

func (d *dev) givesPassword(t *testing.T, b *tab, role string) {
	t.Helper()
	b.visit(t, d.Dashboard+"/login")
	b.fill(t, "name", d.Seeded.Operators[role])
	b.fill(t, "password", d.Seeded.Password)
	b.press(t, ".first")
}

// code is one that the admin may show: of his app where he enrols, else a recovery code, as none of the app's is taken twice.
func (d *dev) code(t *testing.T, b *tab) string {
	t.Helper()
	if secret := eval[string](t, b, `document.getElementById("secret")?.textContent || ""`); secret != "" {
		return totp(t, secret, time.Now())
	}
	if len(d.recovery) == 0 {
		t.Fatal("no recovery code is left")
	}
	code := d.recovery[0]
	d.recovery = d.recovery[1:]
	return code
}
