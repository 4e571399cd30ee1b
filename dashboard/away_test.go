package dashboard_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/operators"
)

// onRedis puts the dashboard before a server of the test's own, as the binary does: a call ends with its context.
func onRedis(t *testing.T) (*testservers.RedisServer, func(*dashboard.Config)) {
	t.Helper()
	server := testservers.Redis(t)
	options := server.Options(t)
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return server, func(c *dashboard.Config) { c.Redis, c.Inspector = client, asynq.NewInspectorFromRedisClient(client) }
}

// isAway holds an answer to one that says what is away, within the time that the server gives an answer.
func isAway(t *testing.T, where, server string, begun time.Time, a answer) {
	t.Helper()
	if a.StatusCode != http.StatusServiceUnavailable || !slices.Equal(texts(a.doc, "h3"), []string{"problem " + server + " does not answer"}) || !strings.Contains(a.text, "sealq doctor") {
		t.Errorf("%s while %s is away: %d %s", where, server, a.StatusCode, textOf(a.doc))
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("%s took %v", where, took)
	}
}

func TestAPageThatNeedsRedisSaysThatItIsAwayAndWhatToDo(t *testing.T) {
	t.Parallel()
	server, on := onRedis(t)
	w := open(t, on)
	b := w.as(operators.RoleOperator)
	server.Stop(t)
	for _, path := range []string{"/queue?name=mail", "/task?queue=mail&id=x", "/servers"} {
		begun := time.Now()
		a := b.get(path)
		isAway(t, path, "Redis", begun, a)
		if !strings.Contains(a.text, `href="/runbooks/stuck-task"`) || strings.Contains(textOf(a.doc), "look before you repeat it") {
			t.Errorf("%s says %s", path, textOf(a.doc))
		}
	}
	for path, form := range map[string][]string{"/tasks": {"queue", "mail", "id", "x", "do", "run"}, "/queue": {"queue", "mail", "do", "pause"}} {
		begun := time.Now()
		a := b.post(path, form...)
		isAway(t, "POST "+path, "Redis", begun, a)
		if !strings.Contains(textOf(a.doc), "look before you repeat it") {
			t.Errorf("POST %s says %s", path, textOf(a.doc))
		}
	}
	if got := w.entries("task."); len(got) > 0 {
		t.Errorf("what could not be done was entered: %v", got)
	}
	server.Start(t)
	deadline := time.Now().Add(20 * time.Second)
	for b.get("/queue?name=mail").StatusCode != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatal("it is back, and the page does not see it")
		}
	}
}

func TestAPageThatNeedsARedisThatHangsIsAnsweredInTime(t *testing.T) {
	t.Parallel()
	server, on := onRedis(t)
	b := open(t, on).as(operators.RoleViewer)
	server.Freeze(t)
	defer server.Thaw(t)
	begun := time.Now()
	isAway(t, "/queue", "Redis", begun, b.get("/queue?name=mail"))
}

func TestEveryPageSaysThatTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleOperator)
	check(t, w.db.Close())
	for _, path := range []string{"/", "/queue?name=mail", "/quarantine", "/audit", "/no/such"} {
		begun := time.Now()
		a := b.get(path)
		isAway(t, path, "The database", begun, a)
		if strings.Contains(a.text, "/runbooks/") {
			t.Errorf("%s links to what nobody is let into now", path)
		}
	}
	begun := time.Now()
	isAway(t, "POST /login", "The database", begun, w.browser().post("/login", "name", "viewer", "password", password))
}

// hung answers nobody who asks for a session, once it hangs.
type hung struct {
	operators.Store

	hangs chan struct{} // closed: it does
}

func (h hung) UseOperatorSession(ctx context.Context, token [32]byte, idle time.Duration, touch bool) (operators.Session, error) {
	select {
	case <-h.hangs:
		<-ctx.Done()
		return operators.Session{}, ctx.Err()
	default:
		return h.Store.UseOperatorSession(ctx, token, idle, touch)
	}
}

func TestAStreamEndsWhoseDatabaseHangs(t *testing.T) {
	t.Parallel()
	hangs := make(chan struct{})
	w := open(t, func(c *dashboard.Config) {
		var err error
		c.Operators, err = operators.New(hung{c.Records.(records).DB, hangs}, operators.Config{Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, Issuer: "sealq test"})
		check(t, err)
	})
	b := w.as(operators.RoleViewer)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/live", nil)
	check(t, err)
	answer, err := b.client.Do(r)
	check(t, err)
	defer func() { _ = answer.Body.Close() }()
	stream := bufio.NewReader(answer.Body)
	_, err = stream.ReadString('\n')
	check(t, err)
	close(hangs)
	w.Config.Handler.(*dashboard.Dashboard).Seen("something")
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Errorf("the stream did not end: %v", err)
	}
}
