package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sealq/sealq/signing"
)

// queue is asynq's, as somebody with a Redis client writes to it. asynq's own client would refuse some of the shots.
type queue struct {
	redis redis.UniversalClient
	mark  string // stands in every message of this run

	mu  sync.Mutex
	put []place
}

// place is a task's: the list's queue, and the ID in its key.
type place struct{ list, id string }

// keys are the task, and every list and set that may hold its ID.
func (p place) keys() []string {
	prefix := "asynq:{" + p.list + "}:"
	keys := []string{prefix + "t:" + p.id}
	for _, name := range []string{"pending", "active", "lease", "scheduled", "retry", "archived", "completed"} {
		keys = append(keys, prefix+name)
	}
	return keys
}

// ErrTaken means that a task lies where a shot was to be put. It is left alone.
var ErrTaken = errors.New("another task lies there")

// KEYS: task, pending. ARGV: message, ID, nanoseconds.
const putScript = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'msg', ARGV[1], 'state', 'pending', 'pending_since', ARGV[3])
redis.call('LPUSH', KEYS[2], ARGV[2])
return 1`

// fire puts the task there.
func (q *queue) fire(ctx context.Context, p place, t signing.Task, now time.Time) error {
	q.mu.Lock()
	q.put = append(q.put, p)
	q.mu.Unlock()
	put, err := redis.NewScript(putScript).Run(ctx, q.redis, p.keys()[:2], message(t), p.id, now.UnixNano()).Int()
	if err != nil {
		return fmt.Errorf("put a task into %s: %w", p.list, err)
	}
	if put == 0 {
		return ErrTaken
	}
	return nil
}

// stored is a task as Redis holds it; the zero value: not at all.
type stored struct {
	raw   []byte
	state string
}

func (s stored) gone() bool { return s.raw == nil }

// look reads what lies there, if it is this run's.
func (q *queue) look(ctx context.Context, p place) (stored, error) {
	fields, err := q.redis.HMGet(ctx, p.keys()[0], "msg", "state").Result()
	if err != nil {
		return stored{}, fmt.Errorf("look for a task in %s: %w", p.list, err)
	}
	raw, _ := fields[0].(string)
	state, _ := fields[1].(string)
	if !bytes.Contains([]byte(raw), []byte(q.mark)) {
		return stored{}, nil
	}
	return stored{raw: []byte(raw), state: state}, nil
}

// KEYS: task, pending, active, lease, scheduled, retry, archived, completed. ARGV: ID, mark.
const removeScript = `
local msg = redis.call('HGET', KEYS[1], 'msg')
if not msg or not string.find(msg, ARGV[2], 1, true) then return 0 end
redis.call('LREM', KEYS[2], 0, ARGV[1])
redis.call('LREM', KEYS[3], 0, ARGV[1])
for i = 4, 8 do redis.call('ZREM', KEYS[i], ARGV[1]) end
redis.call('DEL', KEYS[1])
return 1`

// remove takes the task away, if it is this run's.
func (q *queue) remove(ctx context.Context, p place) (bool, error) {
	n, err := redis.NewScript(removeScript).Run(ctx, q.redis, p.keys(), p.id, q.mark).Int()
	if err != nil {
		return false, fmt.Errorf("remove a task from %s: %w", p.list, err)
	}
	return n == 1, nil
}

// sweep takes away whatever this run left, and counts it.
func (q *queue) sweep(ctx context.Context) (removed int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range q.put {
		found, err := q.remove(ctx, p)
		if err != nil {
			return removed, err
		}
		if found {
			removed++
		}
	}
	return removed, nil
}

// message is the task as asynq v0.26.0 stores it (internal/proto/asynq.proto).
func message(t signing.Task) []byte {
	const timeout = 1800 // seconds, as asynq's client sets it
	var b []byte
	text := func(num protowire.Number, s string) {
		b = protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
	}
	number := func(num protowire.Number, n int64) {
		b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(n)) //nolint:gosec // protobuf's form of a negative one
	}
	text(1, t.Kind)
	text(2, string(t.Payload))
	text(3, t.ID)
	text(4, t.Queue)
	number(5, int64(t.MaxRetry))
	number(8, timeout)
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
		entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), t.Headers[name])
		text(15, string(entry))
	}
	return b
}
