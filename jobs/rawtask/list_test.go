package rawtask_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs/rawtask"
)

// put enqueues a task under an ID.
func put(t *testing.T, c redis.UniversalClient, id string, opts ...asynq.Option) {
	t.Helper()
	task := asynq.NewTask("test:note", []byte("payload"), asynq.Queue(queue), asynq.TaskID(id))
	if _, err := asynq.NewClientFromRedisClient(c).Enqueue(task, opts...); err != nil {
		t.Fatal(err)
	}
}

// do requires commands to succeed.
func do(t *testing.T, c redis.UniversalClient, commands ...[]any) {
	t.Helper()
	for _, command := range commands {
		if err := c.Do(t.Context(), command...).Err(); err != nil {
			t.Fatalf("%.100v: %v", command, err)
		}
	}
}

// seen is what a test looks at of a task.
type seen struct {
	ID       string
	State    rawtask.State
	Problems []rawtask.Problem
}

// list collects what a listing tells, and its last error.
func list(t *testing.T, c redis.UniversalClient, state rawtask.State) (all []seen, err error) {
	t.Helper()
	for f, e := range rawtask.NewLister(c).Tasks(t.Context(), queue, state) {
		if e != nil {
			err = e
			continue
		}
		all = append(all, seen{f.ID[:min(len(f.ID), 80)], f.State(), f.Problems(time.Now())})
	}
	return all, err
}

func TestListingTellsWhateverLiesThere(t *testing.T) {
	t.Parallel()
	for name, test := range hostile {
		for server, start := range servers {
			t.Run(name+" on "+server, func(t *testing.T) {
				t.Parallel()
				c := start(t)
				test.make(t, c)
				before := dump(t, c)
				got, err := list(t, c, test.state)
				if err != nil {
					t.Fatal(err)
				}
				for i := range got {
					slices.Sort(got[i].Problems)
				}
				want := slices.Clone(test.want)
				for i := range want {
					want[i].Problems = append([]rawtask.Problem{}, want[i].Problems...)
					slices.Sort(want[i].Problems)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if diff := cmp.Diff(before, dump(t, c)); diff != "" {
					t.Errorf("looking changed Redis: %s", diff)
				}
			})
		}
	}
}

func TestPlacesOfOtherTypesAreToldAndHideNoOther(t *testing.T) {
	t.Parallel()
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			for _, place := range []string{"pending", "active", "scheduled", "retry", "archived", "completed"} {
				do(t, c, []any{"SET", key + place, "x"})
				got, err := list(t, c, rawtask.State(place))
				other, ok := errors.AsType[*rawtask.PlaceError](err)
				if !ok || len(got) > 0 || other.Type != "string" || other.State != rawtask.State(place) {
					t.Errorf("%s: got %v, %v", place, got, err)
				}
			}
			do(t, c, []any{"SET", key + "groups", "x"}, []any{"SET", key + "aggregation_sets", "x"}, []any{"SET", key + "lease", "x"})
			if _, err := list(t, c, rawtask.Aggregating); err == nil {
				t.Error("the groups' key is a text, and nobody says so")
			}
			do(t, c, []any{"DEL", key + "groups"}, []any{"ZADD", key + "groups", 1, "x"})
			counts, err := rawtask.NewLister(c).Counts(t.Context(), queue)
			if err != nil {
				t.Fatal(err)
			}
			for state, n := range counts {
				if n != -1 {
					t.Errorf("count of %s: want -1, got %d", state, n)
				}
			}
			// and a task among them is found nevertheless
			do(t, c, []any{"HSET", key + "t:a", "msg", "", "state", "pending"})
			f, err := rawtask.NewLister(c).Look(t.Context(), queue, "a")
			if err != nil || f.State() != rawtask.Unlisted {
				t.Errorf("want the task, in no list, got %v, %v", f, err)
			}
		})
	}
}

func TestListingGoesThroughLongListsInSteps(t *testing.T) {
	t.Parallel()
	c := servers["redis"](t)
	ids, scores := []any{"RPUSH", key + "pending"}, []any{"ZADD", key + "retry"}
	const n = 2345
	for i := range n {
		ids = append(ids, fmt.Sprintf("%04d", n-1-i))
		scores = append(scores, i+1, fmt.Sprintf("%04d", i))
	}
	do(t, c, ids, scores)
	for _, state := range []rawtask.State{rawtask.Pending, rawtask.Retry} {
		got, err := list(t, c, state)
		if err != nil || len(got) != n {
			t.Fatalf("%s: want %d tasks, got %d, %v", state, n, len(got), err)
		}
		for i, task := range got {
			if task.ID != fmt.Sprintf("%04d", i) {
				t.Fatalf("%s: task %d is %s", state, i, task.ID)
			}
		}
	}
	for range rawtask.NewLister(c).Tasks(t.Context(), queue, rawtask.Pending) {
		break // whoever has enough may leave
	}
}

// TestListingReadsNoMoreThanItWasMadeFor: many messages that are each small enough are together too many for one step.
func TestListingReadsNoMoreThanItWasMadeFor(t *testing.T) {
	t.Parallel()
	c := servers["redis"](t)
	const n = 9
	for i := range n {
		put(t, c, fmt.Sprint(i))
		do(t, c, []any{"HSET", key + "t:" + fmt.Sprint(i), "msg", strings.Repeat("\x00", 2<<20)})
	}
	largest := 0
	c.AddHook(answers(func(bytes int) { largest = max(largest, bytes) }))
	got, err := list(t, c, rawtask.Pending)
	if err != nil || len(got) != n {
		t.Fatalf("want %d tasks, got %d, %v", n, len(got), err)
	}
	if largest < 2<<20 || largest > 4<<20+64<<10 {
		t.Errorf("the largest answer had %d bytes", largest)
	}
}

// TestListingAnswersAreSmallWhateverIsLarge: IDs, states, and the names of groups and sets are anybody's too.
func TestListingAnswersAreSmallWhateverIsLarge(t *testing.T) {
	t.Parallel()
	c := servers["redis"](t)
	put(t, c, "a")
	large := strings.Repeat("x", 1<<20)
	do(t, c,
		[]any{"HSET", key + "t:a", "state", large}, []any{"LPUSH", key + "pending", large}, []any{"HSET", key + "t:" + large, "state", "x", "group", large},
		[]any{"SADD", key + "groups", large}, []any{"ZADD", key + "aggregation_sets", 1, key + "g:" + large}, []any{"ZADD", key + "retry", 1, large},
		[]any{"SADD", "asynq:queues", large})
	largest := 0
	c.AddHook(answers(func(bytes int) { largest = max(largest, bytes) }))
	for _, state := range rawtask.States() {
		if _, err := list(t, c, state); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
	l := rawtask.NewLister(c)
	if _, err := l.Queues(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := l.Look(t.Context(), queue, large); err != nil {
		t.Error(err)
	}
	if largest > 16<<10 {
		t.Errorf("the largest answer had %d bytes", largest)
	}
}

// TestUnlistedTasksAreFoundWhateverTheQueueIsCalled: SCAN takes patterns.
func TestUnlistedTasksAreFoundWhateverTheQueueIsCalled(t *testing.T) {
	t.Parallel()
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			for _, name := range []string{"a[b]c", `a*?\b`, "ü"} {
				do(t, c, []any{"HSET", "asynq:{" + name + "}:t:lost", "msg", "", "state", "pending"})
				n := 0
				for f, err := range rawtask.NewLister(c).Tasks(t.Context(), name, rawtask.Unlisted) {
					if err != nil || f.ID != "lost" {
						t.Errorf("%s: got %+v, %v", name, f, err)
					}
					n++
				}
				if n != 1 {
					t.Errorf("%s: want one task, got %d", name, n)
				}
			}
		})
	}
}

func TestLookTellsEveryPlace(t *testing.T) {
	t.Parallel()
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			l := rawtask.NewLister(c)
			if _, err := l.Look(t.Context(), queue, "a"); !errors.Is(err, rawtask.ErrNoTask) {
				t.Errorf("nothing: got %v", err)
			}
			put(t, c, "a")
			do(t, c, []any{"ZADD", key + "scheduled", 7, "a"}, []any{"LPUSH", key + "active", "a"}, []any{"HSET", key + "t:a", "state", "scheduled"})
			f, err := l.Look(t.Context(), queue, "a")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]rawtask.State{rawtask.Scheduled, rawtask.Pending, rawtask.Active}, f.Places); diff != "" {
				t.Error(diff)
			}
			if !f.When.Equal(time.Unix(7, 0)) || f.Message.Kind != "test:note" || string(f.Message.Payload) != "payload" {
				t.Errorf("got %+v", f)
			}
			put(t, c, "g", asynq.Group("one"))
			if f, err = l.Look(t.Context(), queue, "g"); err != nil || f.State() != rawtask.Aggregating {
				t.Errorf("grouped: got %v, %v", f.Places, err)
			}
			do(t, c, []any{"ZREM", key + "g:one", "g"}, []any{"ZADD", key + "g:one:x", 1, "g"}, []any{"ZADD", key + "aggregation_sets", 1, key + "g:one:x"})
			if f, err = l.Look(t.Context(), queue, "g"); err != nil || f.State() != rawtask.Aggregating {
				t.Errorf("being aggregated: got %v, %v", f.Places, err)
			}
			do(t, c, []any{"ZREM", key + "g:one:x", "g"}, []any{"ZADD", "elsewhere", 1, "g"}, []any{"ZADD", key + "aggregation_sets", 1, "elsewhere"})
			if f, err = l.Look(t.Context(), queue, "g"); err != nil || f.State() != rawtask.Unlisted {
				t.Errorf("in a set that is none of the queue's: got %v, %v", f.Places, err)
			}
			do(t, c, []any{"LPUSH", key + "pending", "ghost"})
			if f, err = l.Look(t.Context(), queue, "ghost"); err != nil || !errors.Is(f.Err, rawtask.ErrNoTask) || f.State() != rawtask.Pending {
				t.Errorf("an entry without a task: got %+v, %v", f, err)
			}
		})
	}
}

func TestLookReadsALargeMessageAndNotAHugeOne(t *testing.T) {
	t.Parallel()
	c := servers["redis"](t)
	l := rawtask.NewLister(c)
	if _, err := asynq.NewClientFromRedisClient(c).Enqueue(asynq.NewTask("a", make([]byte, 10<<20)), asynq.Queue(queue), asynq.TaskID("a")); err != nil {
		t.Fatal(err)
	}
	if f, err := l.Look(t.Context(), queue, "a"); err != nil || f.Err != nil || len(f.Message.Payload) != 10<<20 {
		t.Errorf("10 MiB: got %v, %v, %d bytes", err, f.Err, len(f.Message.Payload))
	}
	do(t, c, []any{"HSET", key + "t:a", "msg", make([]byte, rawtask.MaxMessage+1)})
	if f, err := l.Look(t.Context(), queue, "a"); err != nil || !errors.Is(f.Err, rawtask.ErrTooLarge) || f.Size != rawtask.MaxMessage+1 {
		t.Errorf("over 16 MiB: got %v, %v, size %d", err, f.Err, f.Size)
	}
}

func TestASearchThatEndsEarlySaysSo(t *testing.T) {
	t.Parallel()
	c := servers["redis"](t)
	command := []any{"MSET"}
	for i := range 3000 {
		command = append(command, fmt.Sprintf("k%d", i), "x")
	}
	do(t, c, command)
	var last error
	for _, err := range rawtask.NewLister(c).Unlisted(t.Context(), queue, 1000) {
		last = err
	}
	if !errors.Is(last, rawtask.ErrNotAll) {
		t.Errorf("got %v", last)
	}
	for _, err := range rawtask.NewLister(c).Unlisted(t.Context(), queue, rawtask.DefaultScan) {
		t.Errorf("a search of everything: got %v", err)
	}
}

func TestQueuesAndCounts(t *testing.T) {
	t.Parallel()
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			l := rawtask.NewLister(c)
			if queues, err := l.Queues(t.Context()); err != nil || len(queues) > 0 {
				t.Errorf("an empty Redis: got %v, %v", queues, err)
			}
			put(t, c, "a")
			put(t, c, "b", asynq.ProcessIn(time.Hour))
			put(t, c, "c", asynq.Group("g"))
			do(t, c, []any{"SADD", "asynq:queues", "a{b}", "", strings.Repeat("n", 1000), "z\x1b"})
			queues, err := l.Queues(t.Context())
			if diff := cmp.Diff([]string{queue, "z\x1b"}, queues); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
			counts, err := l.Counts(t.Context(), queue)
			want := map[rawtask.State]int64{
				rawtask.Pending: 1, rawtask.Active: 0, rawtask.Scheduled: 1, rawtask.Retry: 0, rawtask.Archived: 0, rawtask.Completed: 0, rawtask.Aggregating: 1,
			}
			if diff := cmp.Diff(want, counts); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
			do(t, c, []any{"DEL", "asynq:queues"}, []any{"SET", "asynq:queues", "x"})
			if _, err := l.Queues(t.Context()); err == nil || !strings.Contains(err.Error(), "asynq:queues holds a string") {
				t.Errorf("a text in the queues' place: got %v", err)
			}
		})
	}
}

func TestNamesThatNoQueueHasAreRefused(t *testing.T) {
	t.Parallel()
	l := rawtask.NewLister(servers["miniredis"](t))
	for _, name := range []string{"", "a{b", "a}b", strings.Repeat("q", 257)} {
		if _, err := l.Look(t.Context(), name, "a"); !errors.Is(err, rawtask.ErrQueueName) {
			t.Errorf("look in %.10q: got %v", name, err)
		}
		if _, err := l.Counts(t.Context(), name); !errors.Is(err, rawtask.ErrQueueName) {
			t.Errorf("count %.10q: got %v", name, err)
		}
		for _, err := range l.Tasks(t.Context(), name, rawtask.Pending) {
			if !errors.Is(err, rawtask.ErrQueueName) {
				t.Errorf("list %.10q: got %v", name, err)
			}
		}
	}
}
