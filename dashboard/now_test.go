package dashboard_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/signing"
)

// watched is a dashboard whose watch runs, with these findings.
func watched(t *testing.T, found []dashboard.Finding, change ...func(*dashboard.Config)) *world {
	t.Helper()
	var d *dashboard.Dashboard
	w := open(t, append(change, func(c *dashboard.Config) {
		c.Examine = func(context.Context) []dashboard.Finding { return found }
		var err error
		d, err = dashboard.New(*c)
		check(t, err)
	})...)
	w.Config.Handler = d
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() { stop(); check(t, <-ended) })
	return w
}

// until asks for a page until it is as it should be.
func (b *browser) until(target, want string) answer {
	b.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		a := b.page(target)
		if strings.Contains(textOf(a.doc), want) {
			return a
		}
		select {
		case <-deadline.C:
			b.t.Fatalf("%s never says %q: %s", target, want, textOf(a.doc))
		case <-again.C:
		}
	}
}

func TestWhatNeedsSomebodyComesFirstAndTheGravestOfIt(t *testing.T) {
	t.Parallel()
	w := watched(t, []dashboard.Finding{
		{Group: "redis", Check: "version", Status: dashboard.Fine, Message: "Redis is 7.4"},
		{Group: "database", Check: "schedules", Subject: "lockouts:reset", Trouble: "overdue", Status: dashboard.Problem, Message: "nothing has come of it since it was due 2h ago", Advice: "start `sealq scheduler`, and look into its log"},
		{Group: "keys", Check: "active key", Status: dashboard.Warning, Message: "the active key is 40 days old"},
		{Group: "keys", Check: "agreement", Status: dashboard.Problem, Message: "app2/99 has another ring"},
		{Group: "mail", Check: "mail server", Status: dashboard.NotLooked, Message: "no mail server is named"},
		{Group: "new", Check: "thing", Status: dashboard.Warning, Message: "a check without a guide"},
	})
	for range 3 {
		w.refused(jobs.Refused{TaskID: "f", Queue: "mail", Kind: "k", Reason: signing.ReasonBadSignature, ReceivedAt: time.Now().Add(-time.Hour)})
	}
	w.refused(jobs.Refused{TaskID: "g", Queue: "mail", Kind: "k", Reason: signing.ReasonBadPayload, Authentic: true, ReceivedAt: time.Now().Add(-time.Minute)})
	a := w.as(operators.RoleViewer).until("/", "Checked")
	want := []string{
		"problem 1 task refused: bad_payload",
		"problem A schedule was missed: lockouts:reset",
		"problem Hosts disagree on the key ring",
		"warning 3 tasks refused: bad_signature",
		"warning The active key is old, or there is none",
		"warning new: thing",
		"Not looked at",
	}
	if diff := cmp.Diff(want, texts(a.doc, "h3")); diff != "" {
		t.Errorf("concerns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Needs somebody: 6", "Queues", "Fine"}, texts(a.doc, "h2")); diff != "" {
		t.Error(diff)
	}
	all := texts(a.doc, "article")
	for i, parts := range [][]string{
		{"Whom it hits 1 job that one of our keys signed: not done", "In the queue mail. None reached a handler", "(1 min ago) Whom it hits"},
		{"nothing has come of it since it was due 2h ago", "Whom it hits What it cleans up grows", "Do start sealq scheduler , and look into its log Runbook", "Runbook stuck-task"},
		{"Runbook rotation"},
		{"No genuine job.", "They were altered, copied", "(1 h 0 min ago)", "sealq quarantine list"},
	} {
		for _, part := range parts {
			if !strings.Contains(all[i], part) {
				t.Errorf("%q does not say %q", all[i], part)
			}
		}
	}
	got := links(a.doc)
	for title, want := range map[string]string{
		"1 task refused: bad_payload":             "/quarantine?reason=bad_payload&signed=yes",
		"3 tasks refused: bad_signature":          "/quarantine?reason=bad_signature",
		"Hosts disagree on the key ring":          "/keys",
		"The active key is old, or there is none": "/keys",
		"A schedule was missed: lockouts:reset":   "/schedule?name=lockouts%3Areset",
	} {
		if got[title] != want {
			t.Errorf("%s leads to %q, want %q", title, got[title], want)
		}
	}
	if fine := texts(a.doc, "li"); !slices.Contains(fine, "Redis is 7.4") || !slices.Contains(fine, "mail mail server: no mail server is named") {
		t.Errorf("what is fine: %q", fine)
	}
}

func TestNothingNeedsAnybody(t *testing.T) {
	t.Parallel()
	w := watched(t, []dashboard.Finding{{Group: "redis", Check: "version", Status: dashboard.Fine, Message: "Redis is 7.4"}})
	a := w.as(operators.RoleViewer).until("/", "Checked")
	if diff := cmp.Diff([]string{"Nothing needs anybody", "Queues", "Fine"}, texts(a.doc, "h2")); diff != "" {
		t.Error(diff)
	}
}

func TestQueuesSayHowTheyStand(t *testing.T) {
	t.Parallel()
	w := open(t, func(c *dashboard.Config) { c.Queues = []string{"behind", "damaged", "idle", "mail", "paused"} })
	for queue, n := range map[string]int{"mail": 2, "behind": 1, "paused": 1} {
		for i := range n {
			w.put(queue, string(rune('a'+i)))
		}
	}
	do := func(args ...any) {
		t.Helper()
		check(t, w.redis.Do(t.Context(), args...).Err())
	}
	do("set", "asynq:{paused}:paused", "1")
	do("hset", "asynq:{behind}:t:a", "pending_since", time.Now().Add(-10*time.Minute).UnixNano())
	do("set", "asynq:{damaged}:pending", "x")
	w.refused(jobs.Refused{TaskID: "f", Queue: "mail", Kind: "k", Reason: signing.ReasonBadSignature})
	rows := texts(w.as(operators.RoleViewer).page("/").doc, "tr")[1:]
	want := []string{
		"behind 1 10 min – 0 0 0 0 behind",
		"damaged ? – – 0 0 0 0 damaged",
		"idle 0 – – 0 0 0 0 idle",
		"mail 2 0 s – 0 0 0 1 waiting",
		"paused 1 0 s – 0 0 0 0 paused",
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
}

// silent answers when nobody waits any more.
type silent struct{ dashboard.Records }

func (silent) RefusedGroups(ctx context.Context, _ int) ([]jobs.RefusedGroup, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestADatabaseThatHangsIsNotBlamedOnRedis(t *testing.T) {
	t.Parallel()
	w := open(t, func(c *dashboard.Config) { c.Records = silent{c.Records} })
	a := w.as(operators.RoleViewer).page("/")
	if diff := cmp.Diff([]string{"problem The database does not answer"}, texts(a.doc, "h3")); diff != "" {
		t.Errorf("concerns (-want +got):\n%s", diff)
	}
}

// mistaken is a program with a mistake.
type mistaken struct{ dashboard.Records }

func (mistaken) RefusedGroups(context.Context, int) ([]jobs.RefusedGroup, error) {
	panic("a secret of the program's")
}

func TestAMistakeOfOursIsLoggedAndToldOfWithoutItsReason(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := open(t, func(c *dashboard.Config) {
		c.Records, c.Logger = mistaken{c.Records}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
	})
	b := w.browser()
	b.post("/login", "name", "viewer", "password", password)
	a := b.get("/")
	if a.StatusCode != http.StatusInternalServerError || strings.Contains(a.text, "a secret") {
		t.Errorf("it answered %d: %s", a.StatusCode, a.text)
	}
	w.Close() // the log is written
	if !strings.Contains(log.String(), "a secret of the program's") || !strings.Contains(log.String(), "now_test.go") {
		t.Errorf("the log says %s", log.String())
	}
}

// bounded says how long an entry may take.
type bounded struct {
	dashboard.Records

	within chan time.Duration
}

func (b bounded) Record(ctx context.Context, e audit.Entry) error {
	at, ok := ctx.Deadline()
	if !ok {
		at = time.Now().Add(time.Hour)
	}
	b.within <- time.Until(at)
	return b.Records.Record(ctx, e)
}

func TestADeedIsNotGoneOnWithWhenNobodyCanHearOfIt(t *testing.T) {
	t.Parallel()
	within := make(chan time.Duration, 1)
	w := open(t, func(c *dashboard.Config) { c.Records = bounded{c.Records, within} })
	w.put("mail", "a")
	w.as(operators.RoleOperator).post("/tasks", "queue", "mail", "id", "a", "do", "archive")
	if most := <-within; most > 10*time.Second {
		t.Errorf("a deed may take %s", most)
	}
}

// counted counts the bytes that come over its connections.
type counted struct {
	net.Conn

	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func TestWhatIsTooLargeToBeANumberStaysInRedis(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	w := open(t, func(c *dashboard.Config) {
		client, ok := c.Redis.(*redis.Client)
		if !ok {
			t.Fatalf("Redis is a %T", c.Redis)
		}
		o := client.Options()
		c.Redis = redis.NewClient(&redis.Options{Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return counted{conn, &n}, err
		}})
		t.Cleanup(func() { _ = c.Redis.Close() })
		c.Queues = []string{"ids", "mail", "since"}
	})
	b := w.as(operators.RoleViewer)
	large := strings.Repeat("9", 10<<20)
	for _, args := range [][]any{
		{"set", "asynq:{mail}:processed", large},
		{"set", "asynq:{mail}:failed", large},
		{"rpush", "asynq:{ids}:pending", large},
		{"rpush", "asynq:{since}:pending", "a"},
		{"hset", "asynq:{since}:t:a", "pending_since", large},
	} {
		check(t, w.redis.Do(t.Context(), args...).Err())
	}
	n.Store(0)
	want := []string{"ids 1 – – 0 0 0 0 waiting", "mail 0 – – 0 0 0 0 idle", "since 1 – – 0 0 0 0 waiting"}
	if diff := cmp.Diff(want, texts(b.page("/").doc, "tr")[1:]); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
	if n.Load() > 1<<20 {
		t.Errorf("the page read %d bytes of Redis", n.Load())
	}
}

// put enqueues an unsigned task.
func (w *world) put(queue, id string, opts ...asynq.Option) {
	w.t.Helper()
	_, err := asynq.NewClientFromRedisClient(w.redis).Enqueue(asynq.NewTask("test:note", []byte(`{"note":"x"}`)), append(opts, asynq.Queue(queue), asynq.TaskID(id))...)
	check(w.t, err)
}

// mute answers nothing.
type mute struct{ dashboard.Records }

var errMute = errors.New("no answer")

func (mute) RefusedGroups(context.Context, int) ([]jobs.RefusedGroup, error) { return nil, errMute }

func TestAServerThatIsAwayIsTheFirstConcernAndHidesNothingOfTheOthers(t *testing.T) {
	t.Parallel()
	w := open(t, func(c *dashboard.Config) { c.Records = mute{c.Records} })
	b := w.as(operators.RoleViewer)
	a := b.page("/")
	if got := texts(a.doc, "h3"); len(got) == 0 || got[0] != "problem The database does not answer" {
		t.Errorf("concerns: %q", got)
	}
	if strings.Contains(a.text, errMute.Error()) || !slices.Contains(texts(a.doc, "h2"), "Queues") || !strings.Contains(textOf(a.doc), "mail 0") {
		t.Errorf("the page says %s", textOf(a.doc))
	}
}

func TestRunbooksAreShownAndNothingElse(t *testing.T) {
	t.Parallel()
	b := open(t).as(operators.RoleViewer)
	if got := texts(b.page("/runbooks/rotation").doc, "pre"); len(got) != 1 || got[0] != "# Rotating <keys>" {
		t.Errorf("the runbook: %q", got)
	}
	for _, path := range []string{"/runbooks/none", "/runbooks/..%2fconfig", "/runbooks/rotation.md"} {
		if a := b.get(path); a.StatusCode != 404 {
			t.Errorf("%s answered %d", path, a.StatusCode)
		}
	}
}
