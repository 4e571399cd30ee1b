package janitor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/worker/janitor"
)

// furnish puts a task into every state that asynq has.
func (r *room) furnish(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	r.enqueue(t, "waits")
	r.enqueue(t, "waits too")
	r.enqueue(t, "is scheduled", asynq.ProcessIn(time.Hour))
	r.enqueue(t, "runs")
	r.fetch(t, "runs", -25*time.Second)
	r.enqueue(t, "crashed a moment ago")
	r.fetch(t, "crashed a moment ago", 10*time.Second)
	for _, set := range []string{"retry", "archived", "completed"} {
		id := "is in " + set
		r.enqueue(t, id)
		check(t, r.redis.LRem(ctx, key("pending"), 0, id).Err())
		check(t, r.redis.HSet(ctx, taskKey(id), "state", set).Err())
		check(t, r.redis.ZAdd(ctx, key(set), redis.Z{Score: ago(time.Second), Member: id}).Err())
	}
	check(t, r.redis.Set(ctx, key("processed"), 17, 0).Err())
	check(t, r.redis.Set(ctx, key("paused"), 1, 0).Err())
	check(t, r.redis.ZAdd(ctx, "asynq:servers", redis.Z{Score: 1, Member: "a"}).Err())
	check(t, r.redis.HSet(ctx, taskKey("is scheduled"), "group", "g").Err())
	check(t, r.redis.ZAdd(ctx, key("g:g"), redis.Z{Score: 1, Member: "b"}).Err())
}

func TestAQueueInOrderIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	inBoth(t, func(r *room) {
		t := r.t
		r.furnish(t)
		before := r.all(t)
		if more := r.pass(t); more {
			t.Error("it wants to go on")
		}
		unchanged(t, before, r.all(t))
		r.found(t, map[janitor.What]int{})
		r.quarantine.shows(t, map[string]string{})
	})
}

// In each, something is put into a queue in order, and must be gone afterwards, while all else is as it was.
func TestWhatIsNoTaskIsTakenAway(t *testing.T) {
	t.Parallel()
	const noise = "\xff\xff\xff"
	tests := map[string]struct {
		put  func(ctx context.Context, r *room) error
		find map[janitor.What]int
		kept map[string]string // in quarantine
	}{
		"entries of pending without a task": {
			func(ctx context.Context, r *room) error {
				return errors.Join(r.redis.LPush(ctx, key("pending"), "a", "b").Err(), r.redis.RPush(ctx, key("pending"), "a").Err())
			},
			map[janitor.What]int{janitor.NoTask: 3},
			nil,
		},
		"an entry of pending whose key is a text": {
			func(ctx context.Context, r *room) error {
				return errors.Join(r.redis.RPush(ctx, key("pending"), "a").Err(), r.redis.Set(ctx, taskKey("a"), "squatted", 0).Err())
			},
			map[janitor.What]int{janitor.NoTask: 1},
			nil,
		},
		"an active entry without a message, as asynq makes of a pending one": {
			func(ctx context.Context, r *room) error {
				return errors.Join(r.redis.LPush(ctx, key("active"), "a").Err(), r.redis.HSet(ctx, taskKey("a"), "state", "active").Err(),
					r.redis.ZAdd(ctx, key("lease"), redis.Z{Score: ago(-20 * time.Second), Member: "a"}).Err())
			},
			map[janitor.What]int{janitor.NoTask: 1},
			nil,
		},
		"an active entry whose key is a text": {
			func(ctx context.Context, r *room) error {
				return errors.Join(r.redis.LPush(ctx, key("active"), "a").Err(), r.redis.Set(ctx, taskKey("a"), "squatted", 0).Err(),
					r.redis.ZAdd(ctx, key("lease"), redis.Z{Score: 1, Member: "a"}).Err())
			},
			map[janitor.What]int{janitor.NoTask: 1},
			nil,
		},
		"entries of scheduled and retry without a task": {
			func(ctx context.Context, r *room) error {
				return errors.Join(r.redis.ZAdd(ctx, key("scheduled"), redis.Z{Member: "a"}).Err(), r.redis.ZAdd(ctx, key("retry"), redis.Z{Score: 4e9, Member: "b"}).Err(),
					r.redis.Set(ctx, taskKey("b"), "squatted", 0).Err())
			},
			map[janitor.What]int{janitor.NoTask: 2},
			nil,
		},
		"leases of tasks that are not active": {
			func(ctx context.Context, r *room) error {
				return r.redis.ZAdd(ctx, key("lease"), redis.Z{Score: 1, Member: "waits"}, redis.Z{Score: 4e9, Member: "a"}).Err()
			},
			map[janitor.What]int{janitor.OrphanedLease: 2},
			nil,
		},
		"an active message that cannot be decoded": {
			func(ctx context.Context, r *room) error {
				return errors.Join(r.redis.LPush(ctx, key("active"), "a").Err(), r.redis.HSet(ctx, taskKey("a"), "msg", noise, "state", "active").Err(),
					r.redis.ZAdd(ctx, key("lease"), redis.Z{Score: ago(time.Second), Member: "a"}).Err())
			},
			map[janitor.What]int{janitor.Undecodable: 1},
			map[string]string{"a": noise},
		},
		"… and has no lease": {
			func(ctx context.Context, r *room) error {
				return errors.Join(r.redis.LPush(ctx, key("active"), "a").Err(), r.redis.HSet(ctx, taskKey("a"), "msg", noise, "state", "active").Err())
			},
			map[janitor.What]int{janitor.Undecodable: 1},
			map[string]string{"a": noise},
		},
		"an active copy of an active task": {
			func(ctx context.Context, r *room) error {
				return errors.Join(r.redis.Copy(ctx, taskKey("runs"), taskKey("a"), 0, true).Err(), r.redis.LPush(ctx, key("active"), "a").Err(),
					r.redis.ZAdd(ctx, key("lease"), redis.Z{Score: 1, Member: "a"}).Err())
			},
			map[janitor.What]int{janitor.WrongName: 1},
			map[string]string{"a": "runs"},
		},
		"an active copy of another queue's task": {
			func(ctx context.Context, r *room) error {
				_, err := r.client.EnqueueContext(ctx, asynq.NewTask("kind", nil), asynq.TaskID("a"), asynq.Queue("other"))
				return errors.Join(err, r.redis.Rename(ctx, "asynq:{other}:t:a", taskKey("a")).Err(), r.redis.Del(ctx, "asynq:{other}:pending").Err(),
					r.redis.SRem(ctx, "asynq:queues", "other").Err(), r.redis.LPush(ctx, key("active"), "a").Err())
			},
			map[janitor.What]int{janitor.WrongName: 1},
			map[string]string{"a": "other"},
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(r *room) {
				t := r.t
				r.furnish(t)
				before := r.all(t)
				check(t, c.put(t.Context(), r))
				r.pass(t)
				unchanged(t, before, r.all(t))
				r.found(t, c.find)
				for id, msg := range c.kept {
					for _, e := range r.quarantine.kept {
						if e.TaskID != id || !strings.Contains(string(e.Payload), msg) || e.Reason != "malformed" || e.Authentic || e.Queue != queue || e.ReceivedAt.IsZero() {
							t.Errorf("quarantined as %+v", e)
						}
					}
				}
				if len(r.quarantine.kept) != len(c.kept) {
					t.Errorf("in quarantine: %v, want %v", r.quarantine.kept, c.kept)
				}
			})
		})
	}
}

// A key of the wrong type stops whatever uses it.
func TestKeysOfTheWrongTypeAreDeleted(t *testing.T) {
	t.Parallel()
	keys := []string{"asynq:queues", "asynq:servers", "asynq:workers", "asynq:schedulers"}
	for _, name := range []string{
		"pending", "active", "lease", "scheduled", "retry", "archived", "completed", "groups", "aggregation_sets", "processed", "failed",
		"processed:" + time.Now().UTC().Format(time.DateOnly), "failed:" + time.Now().UTC().Format(time.DateOnly),
	} {
		keys = append(keys, key(name))
	}
	squats := map[string]func(ctx context.Context, r *room, key string) error{
		"by a hash": func(ctx context.Context, r *room, key string) error { return r.redis.HSet(ctx, key, "a", "b").Err() },
	}
	for _, text := range []string{
		"squatted", "", "1.5", "0x10", "1e3", " 7", "7\n", "inf", "nan", "007", "-1", "9223372036854775807", "99999999999999999999",
	} {
		squats[fmt.Sprintf("by the text %q", text)] = func(ctx context.Context, r *room, key string) error {
			return r.redis.Set(ctx, key, text, 0).Err()
		}
	}
	for squatted, put := range squats {
		t.Run(squatted, func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(r *room) {
				t := r.t
				for _, key := range keys {
					check(t, put(t.Context(), r, key))
				}
				r.pass(t)
				unchanged(t, map[string]any{"asynq:queues": []string{queue}}, r.all(t))
				r.found(t, map[janitor.What]int{janitor.WrongType: len(keys)})
			})
		})
	}
}

func TestAKeyInTheWayOfAGroupIsDeleted(t *testing.T) {
	t.Parallel()
	inBoth(t, func(r *room) {
		t := r.t
		r.enqueue(t, "a", asynq.ProcessIn(time.Hour))
		check(t, r.redis.HSet(t.Context(), taskKey("a"), "group", "g").Err())
		before := r.all(t)
		check(t, r.redis.Set(t.Context(), key("g:g"), "squatted", 0).Err())
		r.pass(t)
		unchanged(t, before, r.all(t))
	})
}

// message is what Redis holds of a task.
func (r *room) message(t *testing.T, id string) (rawtask.Message, string) {
	t.Helper()
	fields, err := r.redis.HGetAll(t.Context(), taskKey(id)).Result()
	check(t, err)
	m, err := rawtask.Decode([]byte(fields["msg"]))
	check(t, err)
	return m, fields["state"]
}

func TestATaskThatItsWorkerLeftIsPendingAgainAndItsTryCounts(t *testing.T) {
	t.Parallel()
	inBoth(t, func(r *room) {
		t := r.t
		r.furnish(t)
		r.enqueue(t, "crashed", asynq.MaxRetry(3))
		before, _ := r.message(t, "crashed")
		r.fetch(t, "crashed", 21*time.Second)
		r.pass(t)
		after, state := r.message(t, "crashed")
		before.Retried = 1
		if diff := cmp.Diff(before, after); diff != "" || state != "pending" {
			t.Errorf("its state is %q, its message (-want +got):\n%s", state, diff)
		}
		if first := r.redis.LIndex(t.Context(), key("pending"), 0).Val(); first != "crashed" {
			t.Errorf("%q is the last in pending", first)
		}
		all := r.all(t)
		for _, key := range []string{key("active"), key("lease")} {
			if strings.Contains(strings.Join(strings.Fields(cmp.Diff(nil, all[key])), " "), `"crashed"`) {
				t.Errorf("%s still holds it", key)
			}
		}
		r.found(t, map[janitor.What]int{janitor.ExpiredLease: 1})
		r.quarantine.shows(t, map[string]string{})
	})
}

func TestATaskThatTookItsWorkersAlongOnEveryTryIsArchived(t *testing.T) {
	t.Parallel()
	inBoth(t, func(r *room) {
		t := r.t
		r.enqueue(t, "deadly", asynq.MaxRetry(2))
		for range 3 {
			r.fetch(t, "deadly", time.Hour)
			r.pass(t)
		}
		m, state := r.message(t, "deadly")
		if state != "archived" || m.Retried != 2 || r.redis.ZScore(t.Context(), key("archived"), "deadly").Val() < ago(time.Minute) {
			t.Errorf("it is %q after %d retries", state, m.Retried)
		}
		if n := r.redis.LLen(t.Context(), key("pending")).Val() + r.redis.LLen(t.Context(), key("active")).Val(); n != 0 {
			t.Error("it is listed elsewhere too")
		}
	})
}

// asynq counts from 0 up to the most tries. Any other count is somebody's who would have the task archived, or take workers along
// for ever.
func TestACountOfTriesThatAsynqCannotHaveWrittenBeginsAnew(t *testing.T) {
	t.Parallel()
	for _, count := range []uint64{7, 1<<31 - 1, 1<<64 - 1<<31, 1<<64 - 7000} {
		t.Run(strconv.FormatInt(int64(int32(count)), 10), func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(r *room) {
				t := r.t
				r.enqueue(t, "crashed", asynq.MaxRetry(3))
				msg := protowire.AppendVarint(protowire.AppendTag([]byte(r.redis.HGet(t.Context(), taskKey("crashed"), "msg").Val()), 6, protowire.VarintType), count)
				check(t, r.redis.HSet(t.Context(), taskKey("crashed"), "msg", msg).Err())
				r.fetch(t, "crashed", time.Hour)
				r.pass(t)
				if m, state := r.message(t, "crashed"); state != "pending" || m.Retried != 1 {
					t.Errorf("it is %q after %d retries", state, m.Retried)
				}
			})
		})
	}
}

func TestWhatWasFoundIsCounted(t *testing.T) {
	t.Parallel()
	r := newRoom(t, testservers.Redis(t).Client(t))
	j := r.janitor(t)
	for range 2 {
		check(t, r.redis.LPush(t.Context(), key("pending"), "a", "b").Err())
		check(t, r.redis.ZAdd(t.Context(), key("lease"), redis.Z{Score: 1, Member: "c"}).Err())
		_, err := j.Pass(t.Context())
		check(t, err)
	}
	if diff := cmp.Diff(map[janitor.What]uint64{janitor.NoTask: 4, janitor.OrphanedLease: 2}, j.Found()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Without a lease asynq would never recover it, with an endless one neither.
func TestAnActiveTaskWithoutAProperLeaseGetsOne(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(ctx context.Context, r *room) error{
		"none": func(ctx context.Context, r *room) error { return r.redis.ZRem(ctx, key("lease"), "runs").Err() },
		"endless": func(ctx context.Context, r *room) error {
			return r.redis.ZAdd(ctx, key("lease"), redis.Z{Score: 4e9, Member: "runs"}).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(r *room) {
				t := r.t
				r.furnish(t)
				before := r.all(t)
				check(t, change(t.Context(), r))
				r.pass(t)
				lease := r.redis.ZScore(t.Context(), key("lease"), "runs").Val()
				if lease < ago(-20*time.Second) || lease > ago(-31*time.Second) {
					t.Errorf("its lease ends at %v", time.Unix(int64(lease), 0))
				}
				unchanged(t, without(before, key("lease")), without(r.all(t), key("lease")))
				r.found(t, map[janitor.What]int{janitor.StrayLease: 1})
			})
		})
	}
}

func TestWhatCannotBeQuarantinedStaysAndHoldsUpNoOtherQueue(t *testing.T) {
	t.Parallel()
	inBoth(t, func(r *room) {
		t := r.t
		r.cfg.Queues = []string{queue, "other"}
		check(t, r.redis.LPush(t.Context(), key("active"), "a").Err())
		check(t, r.redis.HSet(t.Context(), taskKey("a"), "msg", "\xff").Err())
		check(t, r.redis.LPush(t.Context(), "asynq:{other}:pending", "b").Err())
		r.quarantine.err = errBroken
		if _, err := r.janitor(t).Pass(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("Pass: %v", err)
		}
		unchanged(t, map[string]any{
			"asynq:queues": []string{queue, "other"}, key("active"): []string{"a"}, taskKey("a"): map[string]string{"msg": "\xff"},
		}, r.all(t))
		r.quarantine.err = nil
		r.pass(t)
		r.quarantine.shows(t, map[string]string{"a": "\xff"})
	})
}

func TestWhatFindsNoRoomInQuarantineGoesAllTheSame(t *testing.T) {
	t.Parallel()
	r := newRoom(t, testservers.Redis(t).Client(t))
	check(t, r.redis.LPush(t.Context(), key("active"), "a").Err())
	check(t, r.redis.HSet(t.Context(), taskKey("a"), "msg", "\xff").Err())
	r.quarantine.err = quarantine.ErrCounted
	r.pass(t)
	unchanged(t, map[string]any{"asynq:queues": []string{queue}}, r.all(t))
	r.found(t, map[janitor.What]int{janitor.Undecodable: 1})
}

func TestAMessageThatChangedInTheMeantimeIsLeftAlone(t *testing.T) {
	t.Parallel()
	inBoth(t, func(r *room) {
		t := r.t
		r.enqueue(t, "a")
		r.fetch(t, "a", time.Hour)
		genuine := r.redis.HGet(t.Context(), taskKey("a"), "msg").Val()
		check(t, r.redis.HSet(t.Context(), taskKey("a"), "msg", "\xff").Err())
		r.quarantine.before = func() { check(t, r.redis.HSet(t.Context(), taskKey("a"), "msg", genuine).Err()) }
		r.pass(t)
		if _, state := r.message(t, "a"); state != "active" || r.redis.LLen(t.Context(), key("active")).Val() != 1 {
			t.Errorf("it is %q now", state)
		}
		r.found(t, map[janitor.What]int{})
	})
}

func TestALongMessageIsQuarantinedInPart(t *testing.T) {
	t.Parallel()
	inBoth(t, func(r *room) {
		t := r.t
		long := strings.Repeat("x", 5<<20)
		for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			check(t, r.redis.LPush(t.Context(), key("active"), id).Err())
			check(t, r.redis.HSet(t.Context(), taskKey(id), "msg", long).Err())
		}
		r.pass(t)
		unchanged(t, map[string]any{"asynq:queues": []string{queue}}, r.all(t))
		if len(r.quarantine.kept) != 8 {
			t.Errorf("%d are in quarantine", len(r.quarantine.kept))
		}
		for _, e := range r.quarantine.kept {
			if len(e.Payload) != jobs.MaxArgsBytes || e.Size != int64(len(long)) {
				t.Errorf("kept %d bytes of %d", len(e.Payload), e.Size)
			}
		}
	})
}

// Whoever fills the lists must not be able to make one pass endless.
func TestALongListIsWalkedInSteps(t *testing.T) {
	t.Parallel()
	r := newRoom(t, testservers.Redis(t).Client(t))
	const n = 10_000
	check(t, r.redis.LPush(t.Context(), key("pending"), numbered(n)...).Err())
	check(t, r.redis.LPush(t.Context(), key("active"), numbered(n)...).Err())
	r.enqueue(t, "a")
	j, passes := r.janitor(t), 0
	for more := true; more; passes++ {
		var err error
		more, err = j.Pass(t.Context())
		check(t, err)
		if passes == 0 {
			r.found(t, map[janitor.What]int{janitor.NoTask: 8000})
		}
	}
	unchanged(t, map[string]any{key("pending"): []string{"a"}}, map[string]any{key("pending"): r.all(t)[key("pending")]})
	if _, there := r.all(t)[key("active")]; there || passes != 3 {
		t.Errorf("after %d passes the active list is there: %v", passes, there)
	}
}

// A walk goes on where the last one stopped, past what is in order.
func TestWhatLiesBehindManyTasksIsReached(t *testing.T) {
	t.Parallel()
	r := newRoom(t, testservers.Redis(t).Client(t))
	pipe := r.redis.Pipeline()
	for _, id := range numbered(9000) {
		name, _ := id.(string)
		pipe.HSet(t.Context(), taskKey(name), "msg", "x", "state", "pending")
		pipe.LPush(t.Context(), key("pending"), name)
	}
	_, err := pipe.Exec(t.Context())
	check(t, err)
	check(t, r.redis.LPush(t.Context(), key("pending"), "nothing").Err())
	j := r.janitor(t)
	for range 3 {
		_, err := j.Pass(t.Context())
		check(t, err)
	}
	if n := r.redis.LLen(t.Context(), key("pending")).Val(); n != 9000 {
		t.Errorf("pending holds %d entries", n)
	}
}

// asynq's server recovers at its start, and then every minute. One message stops it for all queues.
func TestAPoisonedMessageStopsNoRecovery(t *testing.T) {
	t.Parallel()
	r := newRoom(t, testservers.Redis(t).Client(t))
	r.cfg.Grace = time.Hour // leave the recovery itself to asynq
	r.enqueue(t, "crashed")
	r.fetch(t, "crashed", time.Minute)
	check(t, r.redis.LPush(t.Context(), key("active"), "poison").Err())
	check(t, r.redis.HSet(t.Context(), taskKey("poison"), "msg", "\xff", "state", "active").Err())
	check(t, r.redis.ZAdd(t.Context(), key("lease"), redis.Z{Score: ago(time.Minute), Member: "poison"}).Err())
	for poisoned := range 2 {
		server := asynq.NewServerFromRedisClient(r.redis, asynq.Config{Queues: map[string]int{queue: 1}, LogLevel: asynq.FatalLevel, BaseContext: t.Context})
		check(t, server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })))
		server.Shutdown() // its recovery has run once
		if n := r.redis.ZCard(t.Context(), key("retry")).Val(); n != int64(poisoned) {
			t.Errorf("%d tasks were recovered in round %d", n, poisoned)
		}
		r.pass(t)
	}
}

// A janitor whose user may not do its work says so, in a line of a length that is read, and does not call it an outage.
func TestALackOfRightsIsToldInOneShortLine(t *testing.T) {
	t.Parallel()
	admin := testservers.SingleRedis(t, testservers.RedisOptions{}).Admins()[0]
	check(t, admin.Do(t.Context(), "ACL", "SETUSER", "low", "on", ">secret", "+ping").Err())
	client := redis.NewClient(&redis.Options{Addr: admin.Options().Addr, Username: "low", Password: "secret", DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	r := newRoom(t, client)
	var logged lines
	r.cfg.Queues, r.cfg.OnFind, r.cfg.Logger = []string{"a", "b", "c", "d"}, nil, slog.New(slog.NewTextHandler(&logged, nil))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	j := r.janitor(t)
	go func() { ended <- j.Run(ctx) }()
	eventually(t, "something is logged", func() bool { return logged.first() != "" })
	cancel()
	check(t, <-ended)
	line := logged.first()
	if !strings.Contains(line, "lacks a right") || !strings.Contains(line, "sealq redis-acl worker") || strings.Contains(line, "outage") || len(line) > 500 {
		t.Errorf("%d bytes: %s", len(line), line)
	}
}

// lines keeps what is logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) first() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return ""
	}
	return l.all[0]
}

func TestAJanitorNeedsSomethingToLookAfter(t *testing.T) {
	t.Parallel()
	r := newRoom(t, redis.NewClient(&redis.Options{}))
	t.Cleanup(func() { _ = r.redis.Close() })
	for name, mistake := range map[string]func() error{
		"no Redis":      func() error { _, err := janitor.New(nil, r.quarantine, r.cfg); return err },
		"no quarantine": func() error { _, err := janitor.New(r.redis, nil, r.cfg); return err },
		"no queues":     func() error { _, err := janitor.New(r.redis, r.quarantine, janitor.Config{}); return err },
	} {
		if mistake() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRunGoesOnAfterAnOutageAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := testservers.Redis(t)
	r := newRoom(t, server.Client(t))
	r.cfg.Every, r.cfg.OnFind = 10*time.Millisecond, nil
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	j := r.janitor(t)
	go func() { ended <- j.Run(ctx) }()
	clean := func() bool {
		n, err := r.redis.LLen(t.Context(), key("pending")).Result()
		return err == nil && n == 0
	}
	for range 2 {
		eventually(t, "an entry can be made", func() bool { return r.redis.LPush(t.Context(), key("pending"), "nothing").Err() == nil })
		eventually(t, "it is gone", clean)
		eventually(t, "the queue is announced", func() bool { return r.redis.SIsMember(t.Context(), "asynq:queues", queue).Val() })
		server.Stop(t)
		server.Start(t)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// interposed is called before a script of that many keys.
type interposed struct {
	keys int
	do   func()
}

func (interposed) DialHook(next redis.DialHook) redis.DialHook { return next }
func (interposed) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (i interposed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); cmd.Name() == "evalsha" && args[2] == i.keys {
			i.do()
		}
		return next(ctx, cmd)
	}
}

func TestATaskWhoseWorkerComesBackInTheMeantimeIsLeftAlone(t *testing.T) {
	t.Parallel()
	server := testservers.Redis(t)
	r := newRoom(t, server.Client(t))
	r.enqueue(t, "slow")
	r.fetch(t, "slow", time.Minute)
	client := redis.NewClient(server.Options(t))
	t.Cleanup(func() { _ = client.Close() })
	prolonged := 0
	client.AddHook(interposed{keys: 5, do: func() {
		prolonged++
		check(t, r.redis.ZAddXX(t.Context(), key("lease"), redis.Z{Score: ago(-30 * time.Second), Member: "slow"}).Err())
	}})
	j, err := janitor.New(client, r.quarantine, r.cfg)
	check(t, err)
	_, err = j.Pass(t.Context())
	check(t, err)
	if _, state := r.message(t, "slow"); state != "active" || prolonged == 0 || r.redis.LLen(t.Context(), key("pending")).Val() != 0 {
		t.Errorf("it is %q, its lease prolonged %d times", state, prolonged)
	}
}
