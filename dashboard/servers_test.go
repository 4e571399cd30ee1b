package dashboard_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/net/html"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/operators"
)

// eventually polls until it is true.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	deadline, again := time.NewTimer(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer deadline.Stop()
	defer again.Stop()
	for !ask() {
		select {
		case <-deadline.C:
			t.Fatalf("not in time: %s", what)
		case <-again.C:
		}
	}
}

type quiet struct{}

func (quiet) Debug(...any) {}
func (quiet) Info(...any)  {}
func (quiet) Warn(...any)  {}
func (quiet) Error(...any) {}
func (quiet) Fatal(...any) {}

func TestWorkersAndWhatTheyRunAreShown(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleOperator)
	if got := textOf(b.page("/servers").doc); !strings.Contains(got, "No worker lives.") {
		t.Errorf("without one: %s", got)
	}
	const evil = "kind</td><script>alert(1)</script>\x1b\u202e"
	_, err := asynq.NewClientFromRedisClient(w.redis).Enqueue(asynq.NewTask(evil, nil), asynq.Queue("mail"), asynq.TaskID("long one"), asynq.MaxRetry(0))
	check(t, err)
	stopped := make(chan error, 1)
	server := asynq.NewServerFromRedisClient(w.redis, asynq.Config{Queues: map[string]int{"mail": 3, "low": 1}, Concurrency: 7, Logger: quiet{}, LogLevel: asynq.FatalLevel})
	check(t, server.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return asynq.SkipRetry
	})))
	t.Cleanup(server.Shutdown)
	host, err := os.Hostname()
	check(t, err)
	var got answer
	eventually(t, "the task is shown as being run", func() bool {
		got = b.page("/servers")
		return slices.Contains(texts(got.doc, "a"), "long one")
	})
	text := textOf(got.doc)
	for _, want := range []string{host + ", process ", "Status active", "Queues mail=3, low=1", "Running 1 of 7 at once", "long one mail kind</td><script>alert(1)</script>␛⟨U+202E⟩"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q: %s", want, text)
		}
	}
	if strings.ContainsAny(got.text, "\x1b\u202e") || strings.Contains(got.text, "<script>alert") {
		t.Error("markup of a kind came through")
	}
	// What is asked before the queue is paused tells of the worker, and a running task is stopped.
	if asked := textOf(b.post("/queue", "queue", "mail", "do", "pause").doc); !strings.Contains(asked, "Those that run, 1, end as ever.") || !strings.Contains(asked, "Workers that serve it now, by their own account: 1.") {
		t.Errorf("what a pause hits: %s", asked)
	}
	if a := b.post("/tasks", "queue", "mail", "id", "long one", "do", "cancel", "one", "yes"); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("cancel answered %d", a.StatusCode)
	}
	select {
	case cause := <-stopped:
		if !errors.Is(cause, context.Canceled) {
			t.Errorf("it was stopped by %v", cause)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the task was not stopped")
	}
}

func TestWhatIsNoServerHidesNoneThatIs(t *testing.T) {
	t.Parallel()
	w := open(t)
	do := func(args ...any) {
		t.Helper()
		check(t, w.redis.Do(t.Context(), args...).Err())
	}
	until := time.Now().Add(time.Hour).Unix()
	for name, value := range map[string]string{
		"asynq:servers:{big}": strings.Repeat("x", 1<<20), "asynq:servers:{bad}": "\xff\xff", "asynq:servers:{h:1:x}": "\x0a\x01h\x10\x01\x1a\x07<b>\x1b\u202e", "asynq:servers:{other}x": "\x0a\x01h",
		"elsewhere": "\x0a\x01h",
	} {
		do("zadd", "asynq:servers", until, name)
		do("set", name, value)
	}
	do("zadd", "asynq:servers", until, "asynq:servers:{list}", until, strings.Repeat("n", 5000), until, "asynq:servers:{gone}")
	do("lpush", "asynq:servers:{list}", "x")
	do("hset", "asynq:workers:{h:1:x}", "1", strings.Repeat("p", 3<<20), "2", "\xff", "3", "\x22\x02id\x3a\x04mail")
	b := w.as(operators.RoleViewer)
	a := b.page("/servers")
	if got := texts(a.doc, "h2"); !slices.Equal(got, []string{"h, process 1"}) {
		t.Errorf("servers: %q", got)
	}
	if got := textOf(a.doc); !strings.Contains(got, "2 more are not shown here") || !strings.Contains(got, "<b>␛⟨U+202E⟩") || !slices.Contains(texts(a.doc, "a"), "id") {
		t.Errorf("its runs: %s", got)
	}
	do("del", "asynq:servers")
	do("set", "asynq:servers", "x")
	if got := textOf(b.page("/servers").doc); !strings.Contains(got, "No worker lives.") {
		t.Errorf("a key of another type: %s", got)
	}
}

func TestAQueuesHistoryIsAPictureAndATable(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleViewer)
	if got := textOf(b.page("/queue?name=mail").doc); !strings.Contains(got, "Nothing has ended in 30 days.") {
		t.Errorf("before anything ended: %s", got)
	}
	day := func(ago int) string { return time.Now().UTC().AddDate(0, 0, -ago).Format(time.DateOnly) }
	for name, value := range map[string]string{
		"processed:" + day(1): "1200", "failed:" + day(1): "300", "processed:" + day(2): "-5", "failed:" + day(2): "7", "processed:" + day(3): strings.Repeat("9", 1000),
		"processed:" + day(4): "<script>", "processed:" + day(40): "5",
	} {
		check(t, w.redis.Set(t.Context(), "asynq:{mail}:"+name, value, 0).Err())
	}
	check(t, w.redis.LPush(t.Context(), "asynq:{mail}:processed:"+day(5), "x").Err())
	a := b.page("/queue?name=mail")
	rows := texts(a.doc, "tr")
	if !slices.Contains(rows, day(1)+" 1\u202f200 300") && !slices.Contains(rows, day(1)+" 1 200 300") {
		t.Errorf("the table: %q", rows)
	}
	if got := texts(a.doc, "title"); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "Runs that ended by day, 30 days: 1") }) {
		t.Errorf("the picture is called %q", got)
	}
	if n := strings.Count(a.text, "<rect "); n != 2 {
		t.Errorf("the picture has %d bars, not those of one day", n)
	}
	if strings.Contains(a.text, "style=") || strings.Contains(a.text, "<script>alert") {
		t.Error("the page has styles of its own, which the policy forbids")
	}
}

func TestGroupedTasksAreListed(t *testing.T) {
	t.Parallel()
	w := open(t)
	_, err := asynq.NewClientFromRedisClient(w.redis).Enqueue(asynq.NewTask("test:note", nil), asynq.Queue("mail"), asynq.TaskID("grouped"), asynq.Group("g<b>"))
	check(t, err)
	got := textOf(w.as(operators.RoleViewer).page("/queue?name=mail&state=aggregating").doc)
	if !strings.Contains(got, "grouped test:note") || !strings.Contains(got, "1 of the tasks in 1 groups") {
		t.Errorf("the group: %s", got)
	}
}

func TestMetricsAreAnsweredWhileTheDatabaseIsAwayToWhoWasLetInBefore(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	w := open(t, func(c *dashboard.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("sealq_figures 1")) })
	})
	key, other := w.key(operators.RoleViewer), w.key(operators.RoleViewer)
	b := w.browser()
	ask := func(path, key string) int { return b.get(path, "Authorization", "Bearer "+key).StatusCode }
	for _, path := range []string{"/metrics", "/runbooks/rotation"} {
		if got := ask(path, key); got != http.StatusOK {
			t.Fatalf("%s before it went away: %d", path, got)
		}
	}
	check(t, w.db.Close())
	for _, c := range []struct {
		path, key string
		want      int
	}{{"/metrics", key, http.StatusOK}, {"/metrics", other, http.StatusServiceUnavailable}, {"/metrics", "none", http.StatusUnauthorized}, {"/runbooks/rotation", key, http.StatusServiceUnavailable}} {
		if got := ask(c.path, c.key); got != c.want {
			t.Errorf("%s with %.8s: want %d, got %d", c.path, c.key, c.want, got)
		}
	}
	later.Store(int64(61 * time.Minute))
	if got := ask("/metrics", key); got != http.StatusServiceUnavailable {
		t.Errorf("an hour later: %d", got)
	}
}

func TestWhatIsTypedToFindATaskStandsInNoAddress(t *testing.T) {
	t.Parallel()
	w := open(t, func(c *dashboard.Config) { c.ReadOnly = true })
	w.put("mail", "known")
	b := w.as(operators.RoleViewer)
	a := b.post("/find", "id", "ann@example.com")
	if a.StatusCode != http.StatusNotFound || strings.Contains(a.text, "ann@example.com") || strings.Contains(a.Header.Get("Location"), "ann") {
		t.Errorf("what is no task's answered %d, to %q: %s", a.StatusCode, a.Header.Get("Location"), a.text)
	}
	if a := b.post("/find", "id", "known"); a.Header.Get("Location") != "/task?id=known&queue=mail" {
		t.Errorf("a task that is found leads to %q", a.Header.Get("Location"))
	}
	if a := b.get("/find?id=known"); a.StatusCode != http.StatusNotFound {
		t.Errorf("by an address it is found: %d", a.StatusCode)
	}
	form := false
	page := b.page("/")
	for n := range page.doc.Descendants() {
		if n.Data == "form" && slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "action" && a.Val == "/find" }) {
			form = slices.Contains(n.Attr, html.Attribute{Key: "method", Val: "post"})
		}
	}
	if !form {
		t.Error("the box in the header does not post")
	}
}
