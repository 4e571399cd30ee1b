package survival_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/internal/testservers"
)

// noise is a client that writes random bytes, and what is nearly right, into random keys of asynq's by random commands.
type noise struct {
	hostile
}

// nearlyATask is done more often than anything else.
const nearlyATask = "a task that is nearly one"

const noiseEvery = 2 * time.Millisecond

// noise goes on until the process is stopped, and says what it has done.
func (p process) noise(ctx context.Context) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	defer client.Close()
	n := &noise{hostile{redis: client, random: rand.New(rand.NewPCG(p.Seed, 0))}}
	all := writes()
	names := append(slices.Sorted(maps.Keys(all)), slices.Repeat([]string{nearlyATask}, 4)...)
	pace := time.NewTicker(noiseEvery)
	defer pace.Stop()
	done, refused := make(map[string]int), 0
	for {
		select {
		case <-ctx.Done():
			for _, name := range slices.Sorted(maps.Keys(done)) {
				fmt.Printf("%6d × %s\n", done[name], name)
			}
			fmt.Printf("%6d × refused by Redis\n", refused)
			return nil
		case <-pace.C:
		}
		queue := n.queue()
		id, err := n.task(ctx, queue) // and keeps its message, to make others of
		if err != nil {
			id = n.anyID()
		}
		name := names[n.random.IntN(len(names))]
		if err := all[name](n, ctx, n.key(queue, id)); err == nil {
			done[name]++
		} else {
			refused++
		}
	}
}

// key is one of asynq's keys, or nearly.
func (n *noise) key(queue, id string) string {
	names := []string{
		"pending", "active", "lease", "scheduled", "retry", "archived", "completed", "groups", "aggregation_sets", "processed", "failed",
		"processed:" + time.Now().UTC().Format(time.DateOnly), "failed:" + time.Now().UTC().Format(time.DateOnly), "g:" + n.text(8),
		"unique:survival:inside:" + n.text(16), n.text(5),
	}
	switch n.random.IntN(10) {
	case 0:
		return n.one("asynq:queues", "asynq:servers", "asynq:workers", "asynq:schedulers", "asynq:servers:{"+n.text(6)+"}",
			"asynq:workers:{"+n.text(6)+"}", "asynq:"+n.text(6), "asynq:{"+n.text(4)+"}:pending")
	case 1, 2, 3:
		return key(queue, "t:"+n.one(id, id, nextAttempt(id), n.anyID()))
	}
	return key(queue, names[n.random.IntN(len(names))])
}

func (n *noise) text(most int) string { return string(n.bytes(n.random.IntN(most + 1))) }

// anyID is a task's name, or nearly.
func (n *noise) anyID() string {
	id := uuid.UUID(n.bytes(16)).String()
	return n.one(id, id+".1", id+".9999999999", n.text(20), "", id+".")
}

// value is random bytes, the name of a task, a message, or what is nearly a message.
func (n *noise) value() string {
	const longest = 2000
	if len(n.seen) == 0 {
		return n.text(longest)
	}
	s := n.seen[n.random.IntN(len(n.seen))]
	switch n.random.IntN(12) {
	case 0:
		return n.text(longest)
	case 1:
		return n.one("", "0", "-1", "nan", "inf", "9223372036854775807", "pending", "active", "archived", "scheduled", "\x00")
	case 2, 3, 4:
		return n.one(s.id, s.id, nextAttempt(s.id), n.anyID())
	}
	return string(n.nearly([]byte(s.msg)))
}

// nearly changes a message a little.
func (n *noise) nearly(msg []byte) []byte {
	if len(msg) == 0 {
		return n.bytes(10)
	}
	at := n.random.IntN(len(msg))
	field := protowire.Number(1 + n.random.IntN(20))
	switch n.random.IntN(7) {
	case 0: // a bit
		msg[at] ^= 1 << n.random.IntN(8)
	case 1: // cut short
		msg = msg[:at]
	case 2: // two in one
		msg = append(msg[:at:at], n.seen[n.random.IntN(len(n.seen))].msg...)
	case 3: // a field said again, as a number
		msg = protowire.AppendVarint(protowire.AppendTag(msg, field, protowire.VarintType), n.random.Uint64()>>n.random.IntN(64))
	case 4: // or as bytes
		msg = protowire.AppendBytes(protowire.AppendTag(msg, field, protowire.BytesType), []byte(n.text(40)))
	case 5: // a byte more
		msg = slices.Insert(msg, at, n.bytes(1)...)
	default: // some bytes other
		copy(msg[at:], n.bytes(n.random.IntN(20)))
	}
	return msg
}

func (n *noise) number() float64 {
	return []float64{0, -1, n.score(), n.score(), n.score(), math.Inf(1), math.Inf(-1), 1e300, n.random.NormFloat64()}[n.random.IntN(9)]
}

// moment is a time to live. No key gets a long one: it would be a delay, of which there are enough.
func (n *noise) moment() time.Duration {
	return time.Duration(n.random.IntN(3000)+1) * time.Millisecond
}

// sibling is another key of the same queue, so that a Cluster takes a command for both.
func (n *noise) sibling(k string) string {
	if queue, rest, found := strings.Cut(strings.TrimPrefix(k, "asynq:{"), "}:"); found && rest != "" {
		return n.key(queue, n.anyID())
	}
	return k
}

// writes are the commands. asynq's pause of a queue, which is nobody's to lift, ends by itself here.
func writes() map[string]func(n *noise, ctx context.Context, key string) error {
	return map[string]func(n *noise, ctx context.Context, key string) error{
		"SET": func(n *noise, ctx context.Context, k string) error { return n.redis.Set(ctx, k, n.value(), 0).Err() },
		"SET PX": func(n *noise, ctx context.Context, k string) error {
			return n.redis.Set(ctx, k, n.value(), n.moment()).Err()
		},
		"APPEND": func(n *noise, ctx context.Context, k string) error { return n.redis.Append(ctx, k, n.text(50)).Err() },
		"SETRANGE": func(n *noise, ctx context.Context, k string) error {
			return n.redis.SetRange(ctx, k, int64(n.random.IntN(200)), n.text(50)).Err()
		},
		"SETBIT": func(n *noise, ctx context.Context, k string) error {
			return n.redis.SetBit(ctx, k, int64(n.random.IntN(9999)), 1).Err()
		},
		"INCRBY": func(n *noise, ctx context.Context, k string) error {
			return n.redis.IncrBy(ctx, k, n.random.Int64()).Err()
		},
		"LPUSH": func(n *noise, ctx context.Context, k string) error {
			return n.redis.LPush(ctx, k, n.value(), n.value()).Err()
		},
		"RPUSH": func(n *noise, ctx context.Context, k string) error {
			return n.redis.RPush(ctx, k, n.value(), n.value()).Err()
		},
		"LSET": func(n *noise, ctx context.Context, k string) error {
			return n.redis.LSet(ctx, k, int64(n.random.IntN(9)-4), n.value()).Err()
		},
		"LTRIM": func(n *noise, ctx context.Context, k string) error {
			return n.redis.LTrim(ctx, k, 0, int64(n.random.IntN(50))).Err()
		},
		"LREM": func(n *noise, ctx context.Context, k string) error { return n.redis.LRem(ctx, k, 0, n.value()).Err() },
		"RPOP": func(n *noise, ctx context.Context, k string) error { return n.redis.RPop(ctx, k).Err() },
		"ZADD": func(n *noise, ctx context.Context, k string) error {
			return n.redis.ZAdd(ctx, k, redis.Z{Score: n.number(), Member: n.value()}, redis.Z{Score: n.number(), Member: n.anyID()}).Err()
		},
		"ZINCRBY": func(n *noise, ctx context.Context, k string) error {
			return n.redis.ZIncrBy(ctx, k, n.number(), n.value()).Err()
		},
		"ZPOPMIN": func(n *noise, ctx context.Context, k string) error { return n.redis.ZPopMin(ctx, k).Err() },
		"SADD": func(n *noise, ctx context.Context, k string) error {
			return n.redis.SAdd(ctx, k, n.value(), n.text(20)).Err()
		},
		"SPOP": func(n *noise, ctx context.Context, k string) error { return n.redis.SPop(ctx, k).Err() },
		"HSET": func(n *noise, ctx context.Context, k string) error {
			field := n.one("msg", "msg", "state", "pending_since", "unique_key", "group", "result", "completed_at", n.text(10))
			return n.redis.HSet(ctx, k, field, n.value()).Err()
		},
		"HDEL": func(n *noise, ctx context.Context, k string) error {
			return n.redis.HDel(ctx, k, n.one("msg", "state", "pending_since")).Err()
		},
		"XADD": func(n *noise, ctx context.Context, k string) error {
			return n.redis.XAdd(ctx, &redis.XAddArgs{Stream: k, Values: []string{"f", n.value()}}).Err()
		},
		"PFADD":   func(n *noise, ctx context.Context, k string) error { return n.redis.PFAdd(ctx, k, n.value()).Err() },
		"DEL":     func(n *noise, ctx context.Context, k string) error { return n.redis.Del(ctx, k).Err() },
		"PEXPIRE": func(n *noise, ctx context.Context, k string) error { return n.redis.PExpire(ctx, k, n.moment()).Err() },
		"RENAME":  func(n *noise, ctx context.Context, k string) error { return n.redis.Rename(ctx, k, n.sibling(k)).Err() },
		"COPY": func(n *noise, ctx context.Context, k string) error {
			return n.redis.Copy(ctx, k, n.sibling(k), 0, true).Err()
		},
		"SET …:paused PX": func(n *noise, ctx context.Context, _ string) error {
			return n.redis.Set(ctx, key(n.queue(), "paused"), n.value(), n.moment()/3).Err()
		},
		"PUBLISH asynq:cancel": func(n *noise, ctx context.Context, _ string) error {
			return n.redis.Publish(ctx, "asynq:cancel", n.value()).Err()
		},
		nearlyATask: func(n *noise, ctx context.Context, _ string) error {
			if len(n.seen) == 0 {
				return nil
			}
			s := n.seen[n.random.IntN(len(n.seen))]
			s.id, s.msg = n.one(s.id, nextAttempt(s.id), n.anyID()), string(n.nearly([]byte(s.msg)))
			return n.put(ctx, s)
		},
		"to another type": func(n *noise, ctx context.Context, k string) error {
			if err := n.redis.Del(ctx, k).Err(); err != nil {
				return err
			}
			switch n.random.IntN(4) {
			case 0:
				return n.redis.Set(ctx, k, n.value(), 0).Err()
			case 1:
				return n.redis.LPush(ctx, k, n.value()).Err()
			case 2:
				return n.redis.ZAdd(ctx, k, redis.Z{Score: n.number(), Member: n.value()}).Err()
			}
			return n.redis.HSet(ctx, k, n.one("msg", n.text(5)), n.value()).Err()
		},
	}
}

// Honest jobs go on meanwhile, and so does the recovery of what workers had in hand when they were killed.
func TestEveryEffectHappensOnceThoughRandomBytesAreWrittenToRandomKeys(t *testing.T) {
	t.Parallel()
	for form, start := range map[string]func(testing.TB, testservers.RedisOptions) *testservers.Topology{
		"of one server": testservers.SingleRedis, "of a cluster": testservers.Cluster,
	} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			p := plan{
				database: testservers.Postgres(t), redis: start(t, testservers.RedisOptions{}).URL(),
				jobs: sized(1_500, 6_000), dwell: 20 * time.Millisecond, grace: shortGrace,
			}
			s := newSystem(t, p)
			s.early = broughtForward
			noisy := s.start(t, process{Role: roleNoise})
			enqueuer := s.goOn(t, seconds(15, 150))
			kills, end := sized(3, 20), time.Now().Add(seconds(20, 240))
			for time.Now().Before(end) || s.recorded(t) < s.jobs || s.cut(t, s.killed...) < kills {
				s.after(t, seconds(2, 5), seconds(5, 12), func() { s.killInHand(t) })
			}
			s.atWork(t)
			noisy.stop(t)
			t.Logf("noise\n%s", noisy.lastWords(t))
			enqueuer.stop(t)
			s.survived(t)
			if cut := s.cut(t, s.killed...); cut < kills {
				t.Errorf("%d workers were killed in the middle of runs, want %d", cut, kills)
			}
		})
	}
}

// atWork waits for a number of effects that are still to come: that jobs go on under harm, and not only after it.
func (s *system) atWork(t *testing.T) {
	t.Helper()
	const some = 50
	count := func() int { return s.count(t, `SELECT count(*) FROM effects`) }
	before := count()
	s.eventually(t, within, "jobs go on", func() bool { return count() >= before+some })
}
