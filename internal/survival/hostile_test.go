package survival_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/signing"
)

// hostile is somebody who can write to Redis and has no key. The one thing that he leaves out is asynq's own pause of a queue,
// which is nobody's to lift.
type hostile struct {
	redis  redis.UniversalClient
	random *rand.Rand
	seen   []stolen // genuine messages, to be played again
	forger *asynq.Client
}

// stolen is a message and where it was.
type stolen struct{ queue, id, msg string }

const (
	harmEvery = 2 * time.Millisecond
	mostSeen  = 2000
)

// deed is one thing to do to queue, of whose tasks id is one.
type deed struct {
	weight int
	do     func(h *hostile, ctx context.Context, queue, id string) error
}

// harm goes on until the process is stopped, and says what it has done.
func (p process) harm(ctx context.Context) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	defer client.Close()
	h := &hostile{redis: client, random: rand.New(rand.NewPCG(p.Seed, 0)), forger: asynq.NewClientFromRedisClient(client)}
	all := deeds()
	if os.Getenv(testservers.RedisURLEnv) != "" { // the server is other tests' too
		delete(all, "cuts all connections")
		delete(all, "flushes the scripts")
	}
	var names []string // each as often as its weight; sorted, so that a seed repeats them
	for _, name := range slices.Sorted(maps.Keys(all)) {
		names = append(names, slices.Repeat([]string{name}, all[name].weight)...)
	}
	pace := time.NewTicker(harmEvery)
	defer pace.Stop()
	done := make(map[string]int)
	for {
		select {
		case <-ctx.Done():
			for _, name := range slices.Sorted(maps.Keys(done)) {
				fmt.Printf("%6d × %s\n", done[name], name)
			}
			return nil
		case <-pace.C:
		}
		queue, id := h.queue(), ""
		if id, err = h.task(ctx, queue); err != nil {
			continue // there is none, or a connection that it has killed was its own
		}
		name := names[h.random.IntN(len(names))]
		if all[name].do(h, ctx, queue, id) == nil {
			done[name]++
		}
	}
}

func (h *hostile) queue() string { return []string{"default", "critical"}[h.random.IntN(2)] }

func (h *hostile) one(of ...string) string { return of[h.random.IntN(len(of))] }

func key(queue, name string) string { return "asynq:{" + queue + "}:" + name }

func other(queue string) string {
	return map[string]string{"default": "critical", "critical": "default"}[queue]
}

// task finds a task of the queue, and keeps a copy of it.
func (h *hostile) task(ctx context.Context, queue string) (string, error) {
	id, err := h.redis.LIndex(ctx, key(queue, h.one("pending", "active")), int64(h.random.IntN(30)-10)).Result()
	if err != nil {
		keys, _, err := h.redis.Scan(ctx, h.random.Uint64(), key(queue, "t:*"), 200).Result()
		if err != nil || len(keys) == 0 {
			return "", fmt.Errorf("no task: %w", err)
		}
		id = strings.TrimPrefix(keys[h.random.IntN(len(keys))], key(queue, "t:"))
	}
	msg, err := h.redis.HGet(ctx, key(queue, "t:"+id), "msg").Result()
	if err == nil {
		s := stolen{queue, id, msg}
		if len(h.seen) < mostSeen {
			h.seen = append(h.seen, s)
		} else {
			h.seen[h.random.IntN(mostSeen)] = s
		}
	}
	return id, nil
}

// put makes a pending task.
func (h *hostile) put(ctx context.Context, s stolen) error {
	_, err := h.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key(s.queue, "t:"+s.id), "msg", s.msg, "state", "pending")
		p.LPush(ctx, key(s.queue, "pending"), s.id)
		return nil
	})
	return err
}

// score is a time that asynq did not choose: long ago, soon, within the hour, or years ahead.
func (h *hostile) score() float64 {
	ahead := []time.Duration{-1e6 * time.Hour, -time.Hour, 5 * time.Second, 40 * time.Second, 100 * time.Second, 50 * time.Minute, 1e5 * time.Hour}
	return float64(time.Now().Add(ahead[h.random.IntN(len(ahead))]).Unix())
}

// moveTo takes the task out of pending into a set.
func (h *hostile) moveTo(ctx context.Context, queue, id, set string) error {
	_, err := h.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.LRem(ctx, key(queue, "pending"), 0, id)
		p.HSet(ctx, key(queue, "t:"+id), "state", set)
		p.ZAdd(ctx, key(queue, set), redis.Z{Score: h.score(), Member: id})
		return nil
	})
	return err
}

// rewrite changes a task's message.
func (h *hostile) rewrite(ctx context.Context, queue, id string, change func(msg []byte) []byte) error {
	msg, err := h.redis.HGet(ctx, key(queue, "t:"+id), "msg").Bytes()
	if err != nil {
		return err
	}
	return h.redis.HSet(ctx, key(queue, "t:"+id), "msg", change(msg)).Err()
}

func (h *hostile) bytes(n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, h.random.Uint64())
	}
	return b[:n]
}

func (h *hostile) ids(n int) []any {
	ids := make([]any, n)
	for i := range ids {
		ids[i] = uuid.UUID(h.bytes(16)).String() + ".1"
	}
	return ids
}

// nextAttempt is the name that a row's next task will have.
func nextAttempt(id string) string {
	row, attempt, found := strings.Cut(id, ".")
	n := 0
	if _, err := fmt.Sscanf(attempt, "%d", &n); !found || err != nil {
		return id
	}
	return fmt.Sprintf("%s.%d", row, n+1)
}

// deeds are all that it does. What harms a whole queue is rarer than what harms one task.
func deeds() map[string]deed {
	const often, rarely = 20, 1
	return map[string]deed{
		"deletes a task's key": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.Del(ctx, key(q, "t:"+id)).Err()
		}},
		"takes a task out of its list": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.LRem(ctx, key(q, h.one("pending", "active")), 0, id).Err()
		}},
		"moves a task into active": {often, func(h *hostile, ctx context.Context, q, id string) error {
			h.redis.HSet(ctx, key(q, "t:"+id), "state", h.one("active", "pending"))
			return h.redis.LMove(ctx, key(q, "pending"), key(q, "active"), "RIGHT", "LEFT").Err()
		}},
		"moves a task into another queue's list": {often, func(h *hostile, ctx context.Context, q, _ string) error {
			return h.redis.LMove(ctx, key(q, "pending"), key(other(q), h.one("pending", "active")), "RIGHT", "LEFT").Err()
		}},
		"lists a task twice": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.LPush(ctx, key(q, h.one("pending", "pending", "active")), id).Err()
		}},
		"copies a task under another ID": {often, func(h *hostile, ctx context.Context, q, id string) error {
			copied, _ := h.ids(1)[0].(string)
			h.redis.Copy(ctx, key(q, "t:"+id), key(q, "t:"+copied), 0, true)
			return h.redis.LPush(ctx, key(q, "pending"), copied).Err()
		}},
		"copies a task into another queue": {often, func(h *hostile, ctx context.Context, q, id string) error {
			h.redis.Copy(ctx, key(q, "t:"+id), key(other(q), "t:"+id), 0, true)
			return h.redis.LPush(ctx, key(other(q), "pending"), id).Err()
		}},
		"puts a task's message under another's name": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.HSet(ctx, key(q, "t:"+id), "msg", h.seen[h.random.IntN(len(h.seen))].msg).Err()
		}},
		"plays an old task again": {often, func(h *hostile, ctx context.Context, _, _ string) error {
			return h.put(ctx, h.seen[h.random.IntN(len(h.seen))])
		}},
		"puts a task off, or forward": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.moveTo(ctx, q, id, h.one("scheduled", "retry"))
		}},
		"archives a task":  {often, func(h *hostile, ctx context.Context, q, id string) error { return h.moveTo(ctx, q, id, "archived") }},
		"completes a task": {often, func(h *hostile, ctx context.Context, q, id string) error { return h.moveTo(ctx, q, id, "completed") }},
		"cuts a message short": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.rewrite(ctx, q, id, func(msg []byte) []byte { return msg[:h.random.IntN(len(msg)+1)] })
		}},
		"makes a message noise": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.rewrite(ctx, q, id, func(msg []byte) []byte { return h.bytes(len(msg)) })
		}},
		"flips a bit": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.rewrite(ctx, q, id, func(msg []byte) []byte {
				if len(msg) > 0 {
					msg[h.random.IntN(len(msg))] ^= 1 << h.random.IntN(8)
				}
				return msg
			})
		}},
		"makes a job's number negative": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.rewrite(ctx, q, id, func(msg []byte) []byte {
				if at := bytes.Index(msg, []byte(`{"n":`)); at >= 0 && len(msg) > at+6 && msg[at+6] != '}' {
					msg[at+5] = '-'
				}
				return msg
			})
		}},
		"changes what is not signed": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.rewrite(ctx, q, id, func(msg []byte) []byte { // what is said last of a field holds
				const retried, timeout, deadline, uniqueKey, retention, group = 6, 8, 9, 10, 12, 14
				switch h.random.IntN(6) {
				case 0:
					return protowire.AppendVarint(protowire.AppendTag(msg, retried, protowire.VarintType), 9999)
				case 1:
					return protowire.AppendVarint(protowire.AppendTag(msg, timeout, protowire.VarintType), 1)
				case 2:
					return protowire.AppendVarint(protowire.AppendTag(msg, deadline, protowire.VarintType), 1)
				case 3:
					return protowire.AppendString(protowire.AppendTag(msg, uniqueKey, protowire.BytesType), key(q, h.one("pending", "t:"+id)))
				case 4:
					return protowire.AppendVarint(protowire.AppendTag(msg, retention, protowire.VarintType), 3600)
				default:
					return protowire.AppendString(protowire.AppendTag(msg, group, protowire.BytesType), "g")
				}
			})
		}},
		"changes a task's state": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.HSet(ctx, key(q, "t:"+id), "state", h.one("pending", "active", "scheduled", "retry", "archived", "completed", "aggregating", "")).Err()
		}},
		"puts a task into a group": {often, func(h *hostile, ctx context.Context, q, id string) error {
			h.redis.HSet(ctx, key(q, "t:"+id), "group", "g")
			return h.moveTo(ctx, q, id, "retry")
		}},
		"takes a task's message away": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.HDel(ctx, key(q, "t:"+id), "msg").Err()
		}},
		"ends a lease": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.ZRem(ctx, key(q, "lease"), id).Err()
		}},
		"changes a lease": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.ZAdd(ctx, key(q, "lease"), redis.Z{Score: h.score(), Member: id}).Err()
		}},
		"cancels a task": {often, func(h *hostile, ctx context.Context, _, id string) error {
			return h.redis.Publish(ctx, "asynq:cancel", id).Err()
		}},
		"forges a task": {often, func(h *hostile, ctx context.Context, q, id string) error {
			signature := h.one("", strings.Repeat("A", 104))
			if at := strings.Index(h.seen[0].msg, signing.SignatureHeader); at >= 0 {
				signature = h.one(signature, h.seen[0].msg[at:]) // not quite one
			}
			task := asynq.NewTaskWithHeaders(h.one(string(inside().Kind()), string(outside().Kind())), []byte(`{"n":-1}`),
				map[string]string{signing.SignatureHeader: strings.ToValidUTF8(signature, "")})
			row, _, _ := strings.Cut(id, ".")
			_, err := h.forger.EnqueueContext(ctx, task, asynq.Queue(q), asynq.TaskID(h.one(id, nextAttempt(id), row, uuid.UUID(h.bytes(16)).String())))
			return err
		}},
		"squats on the next attempt's name": {often, func(h *hostile, ctx context.Context, q, id string) error {
			if h.random.IntN(2) == 0 {
				return h.redis.Set(ctx, key(q, "t:"+nextAttempt(id)), "squatted", 0).Err()
			}
			return h.redis.HSet(ctx, key(q, "t:"+nextAttempt(id)), "msg", h.bytes(20), "state", "pending").Err()
		}},
		"squats on a task's name": {often, func(h *hostile, ctx context.Context, q, id string) error {
			return h.redis.Set(ctx, key(q, "t:"+id), "squatted", 0).Err()
		}},
		"lists what is no task": {often, func(h *hostile, ctx context.Context, q, _ string) error {
			if h.random.IntN(2) == 0 {
				return h.redis.LPush(ctx, key(q, h.one("pending", "active")), h.ids(20)...).Err()
			}
			set, score := h.one("lease", "scheduled", "retry", "archived", "completed"), h.score()
			var members []redis.Z
			for _, id := range h.ids(20) {
				members = append(members, redis.Z{Score: score, Member: id})
			}
			return h.redis.ZAdd(ctx, key(q, set), members...).Err()
		}},
		"deletes a list": {3 * rarely, func(h *hostile, ctx context.Context, q, _ string) error {
			return h.redis.Del(ctx, key(q, h.one("pending", "active", "lease", "scheduled", "retry", "archived", "completed"))).Err()
		}},
		"squats on a list": {3 * rarely, func(h *hostile, ctx context.Context, q, _ string) error {
			squatted := h.one("asynq:queues", "asynq:servers", "asynq:workers", key(q, "processed"), key(q, "processed:"+time.Now().UTC().Format(time.DateOnly)),
				key(q, "pending"), key(q, "active"), key(q, "lease"), key(q, "scheduled"), key(q, "retry"), key(q, "archived"), key(q, "completed"))
			h.redis.Del(ctx, squatted)
			if h.random.IntN(2) == 0 {
				return h.redis.Set(ctx, squatted, "squatted", 0).Err()
			}
			return h.redis.HSet(ctx, squatted, "squatted", "1").Err()
		}},
		"forgets the queues": {rarely, func(h *hostile, ctx context.Context, _, _ string) error {
			return h.redis.Unlink(ctx, "asynq:queues").Err()
		}},
		"renames a list": {rarely, func(h *hostile, ctx context.Context, q, _ string) error {
			return h.redis.Rename(ctx, key(q, "pending"), key(other(q), h.one("pending", "active"))).Err()
		}},
		"cuts all connections": {rarely, func(h *hostile, ctx context.Context, _, _ string) error {
			return h.redis.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err()
		}},
		"flushes the scripts": {rarely, func(h *hostile, ctx context.Context, _, _ string) error {
			return h.redis.ScriptFlush(ctx).Err()
		}},
	}
}
