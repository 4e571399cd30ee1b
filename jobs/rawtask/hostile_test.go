package rawtask_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs/rawtask"
)

// hostile are the ways in which a queue may lie in Redis, and what is told of it.
var hostile = map[string]struct {
	make  func(t *testing.T, c *redis.Client)
	state rawtask.State
	want  []seen
}{
	"what is fetched next comes first": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		put(t, c, "b")
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, nil}, {"b", rawtask.Pending, nil}}},
	"what is due next comes first": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "late", asynq.ProcessIn(2*time.Hour))
		put(t, c, "soon", asynq.ProcessIn(time.Hour))
	}, rawtask.Scheduled, []seen{{"soon", rawtask.Scheduled, nil}, {"late", rawtask.Scheduled, nil}}},
	"one that cannot be decoded hides no other": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		put(t, c, "b")
		put(t, c, "c")
		do(t, c, []any{"HSET", key + "t:b", "msg", "\xff\xff"})
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, nil}, {"b", rawtask.Pending, []rawtask.Problem{rawtask.Undecodable}}, {"c", rawtask.Pending, nil}}},
	"an entry without a task": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		do(t, c, []any{"LPUSH", key + "pending", "ghost"})
	}, rawtask.Pending, []seen{{"ghost", rawtask.Pending, []rawtask.Problem{rawtask.NoTask}}}},
	"a hash without a message": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		do(t, c, []any{"HSET", key + "t:a", "state", "archived"}, []any{"ZADD", key + "archived", 1, "a"})
	}, rawtask.Archived, []seen{{"a", rawtask.Archived, []rawtask.Problem{rawtask.NoTask}}}},
	"an empty message is one that asynq decodes, of nobody": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		do(t, c, []any{"HSET", key + "t:a", "state", "pending", "msg", ""}, []any{"LPUSH", key + "pending", "a"})
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, []rawtask.Problem{rawtask.OtherID, rawtask.OtherQueue}}}},
	"task keys of other types": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		do(t, c, []any{"SET", key + "t:text", "x"}, []any{"RPUSH", key + "t:list", "x"}, []any{"LPUSH", key + "pending", "text", "list"})
	}, rawtask.Pending, []seen{
		{"text", rawtask.Pending, []rawtask.Problem{rawtask.WrongType}}, {"list", rawtask.Pending, []rawtask.Problem{rawtask.WrongType}},
	}},
	"a message of ten megabytes is not read": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "big")
		do(t, c, []any{"HSET", key + "t:big", "msg", strings.Repeat("x", 10<<20)})
	}, rawtask.Pending, []seen{{"big", rawtask.Pending, []rawtask.Problem{rawtask.TooLarge}}}},
	"a state of ten megabytes neither": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		do(t, c, []any{"HSET", key + "t:a", "state", strings.Repeat("x", 10<<20)})
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, []rawtask.Problem{rawtask.StateDiffers}}}},
	"IDs with control characters, of other bytes than UTF-8, empty, and of a megabyte": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		do(t, c, []any{"LPUSH", key + "pending", "a\x00\x1b[2J", "\xff", "", strings.Repeat("i", 1<<20)})
	}, rawtask.Pending, []seen{
		{"a\x00\x1b[2J", rawtask.Pending, []rawtask.Problem{rawtask.NoTask}},
		{"\xff", rawtask.Pending, []rawtask.Problem{rawtask.NoTask}},
		{"", rawtask.Pending, []rawtask.Problem{rawtask.NoTask}},
		{strings.Repeat("i", 80), rawtask.Pending, []rawtask.Problem{rawtask.NoTask, rawtask.LongID}},
	}},
	"a genuine message under other IDs": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		do(t, c, []any{"COPY", key + "t:a", key + "t:copy"}, []any{"LPUSH", key + "pending", "copy"})
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, nil}, {"copy", rawtask.Pending, []rawtask.Problem{rawtask.OtherID}}}},
	"a genuine message of another queue": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		task := asynq.NewTask("test:note", nil, asynq.Queue("other"), asynq.TaskID("a"))
		if _, err := asynq.NewClientFromRedisClient(c).Enqueue(task); err != nil {
			t.Fatal(err)
		}
		do(t, c, []any{"COPY", "asynq:{other}:t:a", key + "t:a"}, []any{"LPUSH", key + "pending", "a"})
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, []rawtask.Problem{rawtask.OtherQueue}}}},
	"a task in two states": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		do(t, c, []any{"ZADD", key + "scheduled", 1, "a"})
	}, rawtask.Scheduled, []seen{{"a", rawtask.Scheduled, []rawtask.Problem{rawtask.StateDiffers}}}},
	"a task in two sets": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a", asynq.ProcessIn(time.Hour))
		do(t, c, []any{"ZADD", key + "archived", 1, "a"})
	}, rawtask.Scheduled, []seen{{"a", rawtask.Scheduled, []rawtask.Problem{rawtask.TwoPlaces}}}},
	"an active task without a lease": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		do(t, c, []any{"LMOVE", key + "pending", key + "active", "RIGHT", "LEFT"}, []any{"HSET", key + "t:a", "state", "active"})
	}, rawtask.Active, []seen{{"a", rawtask.Active, []rawtask.Problem{rawtask.NoLease}}}},
	"a past deadline": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a", asynq.Deadline(time.Unix(9, 0)))
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, []rawtask.Problem{rawtask.PastDeadline}}}},
	"more tries than there may be": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		edit(t, c, "a", func(msg []byte) []byte { return rawtask.WithRetried(msg, 26) })
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, []rawtask.Problem{rawtask.OddRetries}}}},
	"as many tries as there may be": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		edit(t, c, "a", func(msg []byte) []byte { return rawtask.WithRetried(msg, 25) })
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, []rawtask.Problem{}}}},
	"fewer tries than none": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a")
		edit(t, c, "a", func(msg []byte) []byte { return append(msg, "\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"...) })
	}, rawtask.Pending, []seen{{"a", rawtask.Pending, []rawtask.Problem{rawtask.OddRetries}}}},
	"groups, and sets that are being aggregated": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		put(t, c, "a", asynq.Group("g*\x1b"))
		put(t, c, "b", asynq.Group("h"))
		do(t, c,
			[]any{"ZREM", key + "g:h", "b"}, []any{"ZADD", key + "g:h:set1", 1, "b"}, []any{"ZADD", key + "aggregation_sets", 1, key + "g:h:set1"},
			// what no asynq wrote
			[]any{"ZADD", key + "aggregation_sets", 2, "elsewhere", 3, strings.Repeat("n", 1<<20)}, []any{"SADD", key + "groups", strings.Repeat("n", 1<<20)})
	}, rawtask.Aggregating, []seen{
		{"a", rawtask.Aggregating, []rawtask.Problem{rawtask.Grouped}}, {"b", rawtask.Aggregating, []rawtask.Problem{rawtask.Grouped}},
	}},
	"a task that no list holds": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		for _, id := range []string{"a", "listed"} {
			put(t, c, id)
		}
		put(t, c, "later", asynq.ProcessIn(time.Hour))
		put(t, c, "grouped", asynq.Group("g"))
		do(t, c, []any{"LREM", key + "pending", 0, "a"}, []any{"SET", "asynq:{lowX}:t:z", "of another queue"})
	}, rawtask.Unlisted, []seen{{"a", rawtask.Unlisted, []rawtask.Problem{rawtask.InNoList}}}},
	"a key that is no task's": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		do(t, c, []any{"SET", key + "t:text", "x"})
	}, rawtask.Unlisted, []seen{{"text", rawtask.Unlisted, []rawtask.Problem{rawtask.WrongType, rawtask.InNoList}}}},
	"an ID of a megabyte that no list holds": {func(t *testing.T, c *redis.Client) {
		t.Helper()
		do(t, c, []any{"HSET", key + "t:" + strings.Repeat("i", 1<<20), "msg", "x"})
	}, rawtask.Unlisted, []seen{{"", rawtask.Unlisted, []rawtask.Problem{rawtask.TooLarge, rawtask.LongID, rawtask.InNoList}}}},
}

// edit changes a task's stored message.
func edit(t *testing.T, c *redis.Client, id string, change func(msg []byte) []byte) {
	t.Helper()
	msg, err := c.HGet(t.Context(), key+"t:"+id, "msg").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	do(t, c, []any{"HSET", key + "t:" + id, "msg", change(msg)})
}
