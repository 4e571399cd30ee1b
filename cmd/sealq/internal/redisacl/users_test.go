package redisacl_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker/janitor"
)

const (
	mail     = "mail"
	password = "a password for one test"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen within a minute: %s", what)
		case <-tick.C:
		}
	}
}

// server is a real Redis with one of the users.
type server struct {
	admin *redis.Client
	as    redis.UniversalClient // the user's
	rules []string
}

func newServer(t *testing.T, role redisacl.Role, queues ...string) *server {
	t.Helper()
	top := testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin"})
	hash, err := redisacl.Hash(password)
	check(t, err)
	users, err := redisacl.Users(redisacl.Config{Queues: queues, Prefix: "sealq-", Hashes: map[redisacl.Role]string{role: hash}}, role)
	check(t, err)
	u := users[0]
	s := &server{admin: top.Admins()[0], rules: u.Rules}
	check(t, s.admin.Do(t.Context(), words(u.SetUser())...).Err())
	where, err := redisurl.Parse(top.URLAs(u.Name, password))
	check(t, err)
	s.as = where.Client()
	t.Cleanup(func() { _ = s.as.Close() })
	return s
}

// words are a command as a client sends it.
func words(line string) []any {
	var command []any
	for word := range strings.FieldsSeq(line) {
		command = append(command, word)
	}
	return command
}

// begin forgets what was called up to here.
func (s *server) begin(t *testing.T) {
	t.Helper()
	check(t, s.admin.ConfigResetStat(t.Context()).Err())
	check(t, s.admin.Do(t.Context(), "ACL", "LOG", "RESET").Err())
}

// used requires that since begin nothing was refused, and that exactly what the rules grant was called.
func (s *server) used(t *testing.T) {
	t.Helper()
	refused, err := s.admin.Do(t.Context(), "ACL", "LOG").Slice()
	check(t, err)
	if len(refused) > 0 {
		t.Errorf("ACL LOG has %d entries, such as %v", len(refused), refused[0])
	}
	info, err := s.admin.Info(t.Context(), "commandstats").Result()
	check(t, err)
	called := make(map[string]bool)
	for _, found := range regexp.MustCompile(`cmdstat_([^:]+):`).FindAllStringSubmatch(info, -1) {
		called[found[1]] = true
	}
	for _, others := range []string{"acl|log", "config|resetstat", "info", "hello"} { // the test's own, and what is open to all
		delete(called, others)
	}
	granted := make(map[string]bool)
	for _, found := range regexp.MustCompile(`\+([a-z|]+)`).FindAllStringSubmatch(strings.Join(s.rules, " "), -1) {
		granted[found[1]] = true
	}
	if !granted["publish"] { // the worker is sent a cancellation by the test
		delete(called, "publish")
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(called)), slices.Sorted(maps.Keys(granted))); diff != "" {
		t.Errorf("commands (-called +granted):\n%s", diff)
	}
}

// refuses requires that each command is refused to the user.
func (s *server) refuses(t *testing.T, commands ...string) {
	t.Helper()
	for _, line := range commands {
		var command []any
		for word := range strings.FieldsSeq(line) {
			command = append(command, strings.ReplaceAll(word, "_", " "))
		}
		err := s.as.Do(t.Context(), command...).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "The user executing the script can't") {
			t.Errorf("%s is answered with %v, not refused", line, err)
		}
	}
}

// toAll is refused to every role.
var toAll = []string{
	"FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET requirepass x", "ACL LIST", "ACL SETUSER sealq-worker on nopass", "KEYS *",
	"SHUTDOWN", "MONITOR", "CLIENT LIST", "SELECT 1", "SCRIPT FLUSH", "FUNCTION LIST", "REPLICAOF NO ONE", "SAVE", "DBSIZE",
	"INFO", "CLUSTER SLOTS", "GET foreign", "SET foreign 1", "DEL asynq:queues", "HSET asynq:{other}:t:1 msg x", "LPUSH asynq:{other}:pending 1",
	"HGET asynq:{other}:t:1 msg", "EVAL return_redis.call('FLUSHALL') 0", "EVAL return_redis.call('GET','foreign') 0",
	"EVAL return_redis.call('HSET','asynq:{other}:t:1','msg','x') 0", "EVAL return_1 1 asynq:{other}:t:1", "PUBLISH other 1",
	"SUBSCRIBE other", "RENAME asynq:{mail}:pending asynq:{mail}:archived", "RESTORE asynq:{mail}:t:1 0 x", "MIGRATE h 1 k 0 0",
}

func newKeys(t *testing.T) *signing.Keys {
	t.Helper()
	ring, err := signing.NewRing(time.Now().Add(-time.Hour), 365*24*time.Hour)
	check(t, err)
	keys, err := signing.OpenWith(t.Context(), memory{ring}, "test", signing.Options{})
	check(t, err)
	t.Cleanup(keys.Close)
	return keys
}

// memory is a key ring that stands nowhere else.
type memory struct{ *signing.Ring }

func (r memory) Load(context.Context) (*signing.Ring, error) { return r.Ring, nil }
func (memory) String() string                                { return "memory" }

type arguments struct{}

func TestTheEnqueuerEnqueuesWithEveryOptionAndDoesNothingElse(t *testing.T) {
	t.Parallel()
	s := newServer(t, redisacl.Enqueuer, mail)
	keys := newKeys(t)
	s.begin(t)

	client := asynq.NewClientFromRedisClient(s.as)
	check(t, client.Ping())
	enqueuer, err := jobs.NewEnqueuer(client, keys, jobs.Config{})
	check(t, err)
	def := jobs.Define[arguments]("mail:test", jobs.Policy{Queue: mail})
	for _, job := range []jobs.Job{
		def.With(arguments{}), def.With(arguments{}, jobs.ID("first")), def.With(arguments{}, jobs.In(time.Hour)), def.With(arguments{}, jobs.MaxRetry(3)),
	} {
		_, err := enqueuer.Enqueue(t.Context(), job)
		check(t, err)
	}
	if _, err := enqueuer.Enqueue(t.Context(), def.With(arguments{}, jobs.ID("first"))); !errors.Is(err, jobs.ErrAlreadyEnqueued) {
		t.Errorf("the same ID again: %v", err)
	}
	_, err = enqueuer.EnqueueMany(t.Context(), []jobs.Job{def.With(arguments{}), def.With(arguments{})})
	check(t, err)
	wrapped := jobs.Wrap(client, keys)
	for i, opts := range [][]asynq.Option{
		{asynq.Unique(time.Hour)},
		{asynq.Unique(time.Hour), asynq.ProcessIn(time.Minute)},
		{asynq.Retention(time.Hour)},
		{asynq.Timeout(time.Minute), asynq.Deadline(time.Now().Add(time.Hour)), asynq.MaxRetry(1)},
		{asynq.ProcessAt(time.Now().Add(time.Hour))},
	} {
		_, err := wrapped.EnqueueContext(t.Context(), asynq.NewTask(fmt.Sprint("mail:wrapped", i), nil), append(opts, asynq.Queue(mail))...)
		check(t, err)
	}
	s.used(t)

	s.refuses(t, toAll...)
	s.refuses(t,
		"SCAN 0", "HGET asynq:{mail}:t:first msg", "HGETALL asynq:{mail}:t:first", "HMGET asynq:{mail}:t:first msg", "DEL asynq:{mail}:t:first",
		"DUMP asynq:{mail}:t:first", "LRANGE asynq:{mail}:pending 0 -1", "RPOPLPUSH asynq:{mail}:pending asynq:{mail}:active",
		"LREM asynq:{mail}:pending 0 first", "LTRIM asynq:{mail}:pending 1 0", "ZRANGE asynq:{mail}:scheduled 0 -1", "ZREM asynq:{mail}:scheduled first",
		"EXPIRE asynq:{mail}:t:first 1", "GET asynq:{mail}:unique:x", "SET asynq:{mail}:unique:x 1 GET", "SET asynq:{mail}:t:first 1",
		"SET asynq:{mail}:pending 1", "SET asynq:{mail}:paused 1", "LPUSH asynq:{mail}:active first", "ZADD asynq:{mail}:lease 1 first",
		"SMEMBERS asynq:queues", "SREM asynq:queues mail", "ZADD asynq:servers 1 me", "SUBSCRIBE asynq:cancel", "PUBLISH asynq:cancel first",
		"EVAL return_redis.call('HGET',KEYS[1],'msg') 1 asynq:{mail}:t:first", "EVAL return_redis.call('DEL',KEYS[1]) 1 asynq:{mail}:t:first",
		"EVAL return_redis.call('RPOPLPUSH',KEYS[1],KEYS[2]) 2 asynq:{mail}:pending asynq:{mail}:active",
	)
}

// work is what the mux of the worker's test does with a task.
func work(ctx context.Context, task *asynq.Task) error {
	retried, _ := asynq.GetRetryCount(ctx)
	switch {
	case strings.HasSuffix(task.Type(), ":retry") && retried == 0:
		return errors.New("once more")
	case strings.HasSuffix(task.Type(), ":archive"):
		return asynq.SkipRetry
	case strings.HasSuffix(task.Type(), ":cancel") && retried == 0:
		<-ctx.Done() // by the cancellation, which counts as a failure
		return ctx.Err()
	case strings.HasSuffix(task.Type(), ":hold"):
		<-ctx.Done() // by the server's end
		return ctx.Err()
	}
	if w := task.ResultWriter(); w != nil {
		_, err := w.Write([]byte("done"))
		return err
	}
	return nil
}

func TestTheWorkerRunsAWholeServerAndRelaysAndDoesNothingElse(t *testing.T) {
	t.Parallel()
	s := newServer(t, redisacl.Worker, mail, jobs.QueueDefault)
	ctx := t.Context()
	client := asynq.NewClientFromRedisClient(s.as)
	// A worker died with this one long ago.
	_, err := client.Enqueue(asynq.NewTask("mail:orphan", nil), asynq.Queue(mail), asynq.TaskID("orphan"))
	check(t, err)
	check(t, s.admin.LMove(ctx, "asynq:{mail}:pending", "asynq:{mail}:active", "RIGHT", "LEFT").Err())
	check(t, s.admin.HSet(ctx, "asynq:{mail}:t:orphan", "state", "active").Err())
	check(t, s.admin.ZAdd(ctx, "asynq:{mail}:lease", redis.Z{Score: 1, Member: "orphan"}).Err())
	// Somebody left a counter behind that is a number, a message that is none, and an entry without a task.
	check(t, s.admin.Set(ctx, "asynq:{default}:processed", "7", 0).Err())
	check(t, s.admin.HSet(ctx, "asynq:{default}:t:poison", "msg", "\xff", "state", "active").Err())
	check(t, s.admin.LPush(ctx, "asynq:{default}:active", "poison", "ghost").Err())
	check(t, s.admin.ZAdd(ctx, "asynq:{default}:lease", redis.Z{Score: 1, Member: "poison"}).Err())
	s.begin(t)
	order(t, s.as)

	var unwell healthchecks
	srv := asynq.NewServerFromRedisClient(s.as, asynq.Config{
		Queues: map[string]int{mail: 2, jobs.QueueDefault: 1}, Concurrency: 8, LogLevel: asynq.FatalLevel, Logger: quiet{},
		TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 20 * time.Millisecond, JanitorInterval: 20 * time.Millisecond,
		HealthCheckInterval: 20 * time.Millisecond, HealthCheckFunc: unwell.note, ShutdownTimeout: 100 * time.Millisecond,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 10 * time.Millisecond },
	})
	check(t, srv.Start(asynq.HandlerFunc(work)))
	stop := sync.OnceFunc(srv.Shutdown)
	defer stop() // before the client is closed
	for kind, opts := range map[string][]asynq.Option{
		"mail:plain": nil, "mail:unique": {asynq.Unique(time.Hour)}, "mail:later": {asynq.ProcessIn(time.Second)}, "mail:kept": {asynq.Retention(time.Second)},
		"mail:retry": nil, "mail:archive": nil, "mail:cancel": {asynq.TaskID("cancel")}, "mail:hold": {asynq.TaskID("hold")},
	} {
		_, err := client.EnqueueContext(ctx, asynq.NewTask(kind, nil), append(opts, asynq.Queue(mail))...)
		check(t, err)
	}
	tasks := rawtask.NewReader(s.as) // as reconcile does
	in := func(id, state string) func() bool {
		return func() bool {
			found, err := tasks.Lookup(ctx, mail, id)
			if state == "" {
				return errors.Is(err, rawtask.ErrNoTask)
			}
			return err == nil && found.State == state
		}
	}
	eventually(t, "the task that waits for its cancellation runs", in("cancel", "active"))
	check(t, s.admin.Publish(ctx, "asynq:cancel", "cancel").Err())
	eventually(t, "it is cancelled", in("cancel", ""))
	eventually(t, "the orphan is recovered, and done", in("orphan", ""))
	eventually(t, "all but what waits for the end is done", func() bool { return strings.Join(s.left(t), " ") == "hold" })
	check(t, srv.Ping())
	stop()
	eventually(t, "what ran at the end is in the queue again", in("hold", "pending"))
	check(t, s.as.SAdd(ctx, "asynq:queues", mail).Err())                             // as a relay does with each batch
	check(t, s.as.LLen(ctx, "asynq:{mail}:pending").Err())                           // … to see whether the queue is full
	check(t, s.as.ZCount(ctx, "asynq:{mail}:scheduled", "-inf", "1").Err())          // … too
	check(t, s.as.Unlink(ctx, "asynq:{mail}:t:row.2", "asynq:{mail}:t:row.3").Err()) // as a restoration does
	if err := unwell.last(); err != nil {
		t.Errorf("health check: %v", err)
	}
	s.used(t)

	s.refuses(t, toAll...)
	s.refuses(t,
		"SCAN 0", "SMEMBERS asynq:queues", "SREM asynq:queues mail", "GET asynq:servers:{h:1:x}", "ZRANGE asynq:servers 0 -1", "HGETALL asynq:workers:{h:1:x}",
		"PSUBSCRIBE *", "PUBLISH asynq:cancel cancel", "ZADD asynq:schedulers 1 x",
	)
}

// order has a janitor put the queue "default" in order.
func order(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	found := make(map[janitor.What]int)
	kept := make(shelf)
	j, err := janitor.New(client, kept, janitor.Config{
		Queues: []string{jobs.QueueDefault}, OnFind: func(_ context.Context, f janitor.Find) { found[f.What] += f.Count },
	})
	check(t, err)
	for more := true; more; {
		more, err = j.Pass(t.Context())
		check(t, err)
	}
	if found[janitor.Undecodable] != 1 || found[janitor.NoTask] != 1 || len(kept) != 1 {
		t.Errorf("the janitor found %v and kept %d", found, len(kept))
	}
}

// shelf is a quarantine in memory.
type shelf map[string]jobs.Refused

func (s shelf) Keep(_ context.Context, r jobs.Refused) error { s[r.ID] = r; return nil }

// left are the IDs in the queue's lists, but for the archive. They are read by the user's own commands: the admin's would be counted.
func (s *server) left(t *testing.T) []string {
	t.Helper()
	var ids []string
	for _, set := range []string{"scheduled", "retry", "completed", "lease"} {
		found, err := s.as.ZRange(t.Context(), "asynq:{mail}:"+set, 0, -1).Result()
		check(t, err)
		ids = append(ids, found...)
	}
	return ids
}

type quiet struct{}

func (quiet) Debug(...any) {}
func (quiet) Info(...any)  {}
func (quiet) Warn(...any)  {}
func (quiet) Error(...any) {}
func (quiet) Fatal(...any) {}

func TestTheDashboardDoesWhatOperatorsDoAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newServer(t, redisacl.Dashboard, mail)
	client := asynq.NewClientFromRedisClient(s.admin)
	put := func(id string, opts ...asynq.Option) {
		_, err := client.Enqueue(asynq.NewTask("mail:test", []byte(id)), append(opts, asynq.Queue(mail), asynq.TaskID(id))...)
		check(t, err)
	}
	for _, id := range []string{"a", "b", "c"} {
		put(id)
		put("later-"+id, asynq.ProcessIn(time.Hour), asynq.Unique(time.Hour))
	}
	put("grouped", asynq.Group("nobody's")) // sealq makes none, and somebody may
	srv := asynq.NewServerFromRedisClient(s.admin, asynq.Config{Queues: map[string]int{"other": 1}, LogLevel: asynq.FatalLevel, Logger: quiet{}})
	check(t, srv.Start(asynq.HandlerFunc(work)))
	inspector := asynq.NewInspectorFromRedisClient(s.as)
	eventually(t, "the server shows itself", func() bool {
		servers, err := inspector.Servers()
		return err == nil && len(servers) == 1
	})
	srv.Shutdown()
	check(t, s.admin.ZAdd(t.Context(), "asynq:servers", redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: "asynq:servers:{x}"}).Err())
	check(t, s.admin.ZAdd(t.Context(), "asynq:workers", redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: "asynq:workers:{x}"}).Err())
	s.begin(t)

	check(t, s.as.Ping(t.Context()).Err())
	queues, err := inspector.Queues()
	check(t, err)
	if !slices.Contains(queues, mail) {
		t.Errorf("queues: %q", queues)
	}
	info, err := inspector.GetQueueInfo(mail)
	check(t, err)
	if info.Pending != 3 || info.Scheduled != 3 {
		t.Errorf("queue: %+v", info)
	}
	_, err = inspector.History(mail, 3)
	check(t, err)
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		inspector.ListPendingTasks, inspector.ListActiveTasks, inspector.ListScheduledTasks, inspector.ListRetryTasks, inspector.ListArchivedTasks,
		inspector.ListCompletedTasks,
	} {
		_, err := list(mail)
		check(t, err)
	}
	_, err = inspector.GetTaskInfo(mail, "a")
	check(t, err)
	tasks := rawtask.NewLister(s.as) // as sealq tasks does
	_, err = tasks.Queues(t.Context())
	check(t, err)
	_, err = tasks.Counts(t.Context(), mail)
	check(t, err)
	for _, state := range rawtask.States() {
		for _, err := range tasks.Tasks(t.Context(), mail, state) {
			check(t, err)
		}
	}
	_, err = tasks.Look(t.Context(), mail, "a")
	check(t, err)
	_, err = inspector.Servers()
	check(t, err)
	_, err = tasks.Servers(t.Context(), time.Now()) // as the pages do
	check(t, err)
	_, err = tasks.Days(t.Context(), mail, time.Now(), rawtask.MaxDays)
	check(t, err)
	check(t, s.as.Time(t.Context()).Err()) // as sealq doctor does
	check(t, inspector.PauseQueue(mail))
	check(t, inspector.UnpauseQueue(mail))
	check(t, inspector.ArchiveTask(mail, "a"))
	check(t, inspector.RunTask(mail, "a"))
	check(t, inspector.RunTask(mail, "later-a"))
	check(t, inspector.DeleteTask(mail, "later-a"))
	check(t, inspector.DeleteTask(mail, "later-b"))
	check(t, inspector.DeleteTask(mail, "grouped"))
	check(t, inspector.CancelProcessing("running"))
	for _, all := range []func(string) (int, error){
		inspector.ArchiveAllPendingTasks, inspector.RunAllArchivedTasks, inspector.RunAllScheduledTasks, inspector.RunAllRetryTasks,
		inspector.ArchiveAllScheduledTasks, inspector.ArchiveAllRetryTasks, inspector.DeleteAllScheduledTasks, inspector.DeleteAllRetryTasks,
		inspector.DeleteAllArchivedTasks, inspector.DeleteAllCompletedTasks, inspector.DeleteAllPendingTasks,
	} {
		_, err := all(mail)
		check(t, err)
	}
	s.used(t)

	s.refuses(t, toAll...)
	s.refuses(t,
		"RPOPLPUSH asynq:{mail}:pending asynq:{mail}:active", "SADD asynq:queues x", "SREM asynq:queues mail", "SUBSCRIBE asynq:cancel",
		"SET asynq:{mail}:t:a 1", "ZADD asynq:servers 1 x", "DEL asynq:servers", "INCR asynq:{mail}:processed",
	)
}
