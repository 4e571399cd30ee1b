package dropin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// bin is the folder of the three programs: before, after, and observe, which is after with UnsignedUntil set.
var bin string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "dropin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	if err := build(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

const (
	strict    = `worker.Config{}`
	observing = `worker.Config{UnsignedUntil: time.Now().Add(24 * time.Hour)}`
)

func build(ctx context.Context) error {
	source, err := filepath.Abs(filepath.Join("after", "main.go"))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if n := bytes.Count(text, []byte(strict)); n != 1 {
		return fmt.Errorf("after/main.go says %s %d times, not once", strict, n)
	}
	observe, overlay := filepath.Join(bin, "observe.go"), filepath.Join(bin, "overlay.json")
	if err := os.WriteFile(observe, bytes.Replace(text, []byte(strict), []byte(observing), 1), 0o600); err != nil {
		return err
	}
	replaced, err := json.Marshal(map[string]any{"Replace": map[string]string{source: observe}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, replaced, 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-o", filepath.Join(bin, "before"), "./before"},
		{"-o", filepath.Join(bin, "after"), "./after"},
		{"-overlay", overlay, "-o", filepath.Join(bin, "observe"), "./after"},
	} {
		if out, err := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("go build %v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// place is a folder that the programs run in, with a key ring, and a Redis.
type place struct {
	dir    string
	server *testservers.RedisServer
	keys   *signing.Keys
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{dir: t.TempDir(), server: testservers.Redis(t)}
	ring, err := signing.NewRing(time.Now(), 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := signing.NewFile(filepath.Join(p.dir, "keys.json"))
	if err := file.Create(ring); err != nil {
		t.Fatal(err)
	}
	if p.keys, err = signing.Open(t.Context(), file.String(), "prod-eu"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.keys.Close)
	return p
}

func (p place) command(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, program), append([]string{"-redis", p.server.URL()}, args...)...)
	cmd.Dir = p.dir
	return cmd
}

// signup lets a program enqueue a user's two tasks and returns their IDs: the welcome's and the image's.
func (p place) signup(t *testing.T, program, user string) (welcome, image string) {
	t.Helper()
	out, err := p.command(t, program, "signup", user).CombinedOutput()
	words := strings.Fields(string(out))
	if err != nil || len(words) != 3 || words[0] != "enqueued" {
		t.Fatalf("%s signup %s: %v\n%s", program, user, err, out)
	}
	return words[1], words[2]
}

// work runs a program's worker until the queues are empty, and returns what it said.
func (p place) work(t *testing.T, program string) string {
	t.Helper()
	var said, logged output
	cmd := p.command(t, program, "work")
	cmd.Stdout, cmd.Stderr = &said, &logged
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	client := p.server.Client(t)
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var left int64
		for _, list := range []string{"{default}:pending", "{default}:active", "{low}:pending", "{low}:active"} {
			left += client.LLen(t.Context(), "asynq:"+list).Val()
		}
		if left == 0 {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("%s work ended: %v\n%s", program, err, logged.String())
		case <-deadline:
			t.Fatalf("%s work leaves %d tasks in the queues\n%s", program, left, logged.String())
		case <-tick.C:
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("%s work: %v\n%s", program, err, logged.String())
	}
	return said.String()
}

// quarantined are the entries of the folder that after keeps refused tasks in, by task ID.
func (p place) quarantined(t *testing.T) map[string]jobs.Refused {
	t.Helper()
	entries := make(map[string]jobs.Refused)
	dir, err := worker.OpenDir(filepath.Join(p.dir, worker.DefaultDir))
	if err != nil {
		t.Fatal(err)
	}
	list, err := dir.QuarantineList(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, short := range list {
		entry, err := dir.QuarantineShow(t.Context(), short.ID)
		if err != nil {
			t.Fatal(err)
		}
		entries[entry.TaskID] = entry
	}
	return entries
}

// output is what a process has said so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// wants compares what was said, in whatever order.
func wants(t *testing.T, said string, want ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSuffix(said, "\n"), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// whole is what the app says about alice, and about an image that is broken.
var whole = []string{
	`started email:welcome {"user":"alice"}`, "welcomed alice", "started image:resize alice.png", "resized alice.png",
	`started email:welcome {"user":"broken"}`, "welcomed broken", "started image:resize broken.png",
	"reported image:resize resize broken.png: skip retry for the task: it is no image",
}

func TestBeforeDoesItsWork(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.signup(t, "before", "alice")
	p.signup(t, "before", "broken")
	wants(t, p.work(t, "before"), slices.Clone(whole)...)
}

func TestAfterDoesTheSameWorkSigned(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	welcome, image := p.signup(t, "after", "alice")
	p.signup(t, "after", "broken")
	inspector := asynq.NewInspectorFromRedisClient(p.server.Client(t))
	for id, queue := range map[string]string{welcome: "default", image: "low"} {
		info, err := inspector.GetTaskInfo(queue, id)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.keys.Verify(signing.Task{
			Kind: info.Type, ID: info.ID, Queue: info.Queue, MaxRetry: info.MaxRetry, Headers: info.Headers, Payload: info.Payload,
		}, info.Headers[signing.SignatureHeader])
		if err != nil {
			t.Errorf("%s: %v", info.Type, err)
		}
	}
	wants(t, p.work(t, "after"), slices.Clone(whole)...)
	if refused := p.quarantined(t); len(refused) != 0 {
		t.Errorf("in quarantine: %+v", refused)
	}
}

func TestAfterRefusesWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	welcome, image := p.signup(t, "before", "mallory")
	p.signup(t, "after", "alice")
	p.signup(t, "after", "broken")
	wants(t, p.work(t, "after"), slices.Clone(whole)...) // neither middleware, handler nor error handler saw mallory

	refused := p.quarantined(t)
	if len(refused) != 2 {
		t.Fatalf("%d tasks are in quarantine, want 2", len(refused))
	}
	for id, want := range map[string]struct{ kind, queue, payload string }{
		welcome: {"email:welcome", "default", `{"user":"mallory"}`},
		image:   {"image:resize", "low", "mallory.png"},
	} {
		got := refused[id]
		if got.Kind != want.kind || got.Queue != want.queue || string(got.Payload) != want.payload ||
			got.PayloadSHA256 != sha256.Sum256([]byte(want.payload)) || got.Size != int64(len(want.payload)) ||
			got.Reason != signing.ReasonMissingSignature || got.Authentic {
			t.Errorf("in quarantine: %+v", got)
		}
	}
	client := p.server.Client(t)
	for _, key := range []string{"asynq:{default}:t:" + welcome, "asynq:{low}:t:" + image} {
		if client.Exists(t.Context(), key).Val() != 0 {
			t.Errorf("%s is still in Redis", key)
		}
	}
}

func TestObservingLetsUnsignedTasksPass(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.signup(t, "before", "alice")
	p.signup(t, "after", "broken")
	forger := asynq.NewClientFromRedisClient(p.server.Client(t))
	forged := asynq.NewTaskWithHeaders("image:resize", []byte("mallory.png"), map[string]string{signing.SignatureHeader: strings.Repeat("A", 104)})
	if _, err := forger.Enqueue(forged, asynq.TaskID("forged")); err != nil {
		t.Fatal(err)
	}
	wants(t, p.work(t, "observe"), slices.Clone(whole)...)
	refused := p.quarantined(t)
	if got := refused["forged"]; len(refused) != 1 || got.Reason != signing.ReasonUnsupportedVersion {
		t.Errorf("a signature that is there must hold: in quarantine are %+v", refused)
	}
}

// Whoever rolls the app back loses nothing: a worker that knows no signatures runs signed tasks.
func TestBeforeRunsWhatAfterEnqueued(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.signup(t, "after", "alice")
	p.signup(t, "after", "broken")
	wants(t, p.work(t, "before"), slices.Clone(whole)...)
}

func TestAfterNeedsItsKeyRing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := os.Remove(filepath.Join(p.dir, "keys.json")); err != nil {
		t.Fatal(err)
	}
	out, err := p.command(t, "after", "signup", "alice").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "keys.json") {
		t.Errorf("got %v: %s", err, out)
	}
	if n := p.server.Client(t).DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys were written", n)
	}
}
