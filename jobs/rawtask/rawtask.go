// Package rawtask reads a task out of Redis as it lies there: the bytes under its key, the state they name, and
// whether the list or set of that state holds the task. asynq's Inspector believes the state alone, so after a
// loss it calls "pending" what no worker will ever fetch. The package verifies nothing and changes nothing.
package rawtask

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Task is a task as Redis holds it.
type Task struct {
	Message
	State  string // as its hash says: pending, active, scheduled, retry, archived or completed
	Placed bool   // the list or set of that state holds it; where active, under a lease too
	// When is the set's score: when a scheduled or retried task is due, when an active task's lease ends. Zero where pending.
	// Like all else in Redis it may be anybody's.
	When time.Time
}

// ErrNoTask means that Redis holds no task under that queue and ID.
var ErrNoTask = errors.New("no such task in Redis")

// lookup reads hash and place in one step, so that a task on its way between two states is not called lost.
// What is not of the type that asynq gives it holds no task. Lists are searched from the end that is fetched
// next, where the tasks are that wait the longest. An active task without a lease would never be recovered.
// KEYS: task, pending, active, lease, scheduled, retry, archived, completed. ARGV: task ID.
const lookup = `
local function call(...)
	local r = redis.pcall(...)
	if type(r) == 'table' and r.err then
		if string.find(r.err, 'WRONGTYPE', 1, true) then return false end
		error(r.err)
	end
	return r
end
local h = call('HMGET', KEYS[1], 'msg', 'state')
if not h then return {} end
if not h[1] then return false end
local sets = {scheduled = KEYS[5], retry = KEYS[6], archived = KEYS[7], completed = KEYS[8]}
local state = h[2] or ''
local placed = false
local score = '0'
if state == 'pending' then
	placed = call('LPOS', KEYS[2], ARGV[1], 'RANK', '-1')
elseif state == 'active' then
	placed = call('LPOS', KEYS[3], ARGV[1]) and call('ZSCORE', KEYS[4], ARGV[1])
	score = placed or score
elseif sets[state] then
	placed = call('ZSCORE', sets[state], ARGV[1])
	score = placed or score
end
return {h[1], state, placed and 1 or 0, score}`

// Reader looks tasks up.
type Reader struct {
	redis  redis.UniversalClient
	script *redis.Script
}

// NewReader reads through c, which stays the caller's to close.
func NewReader(c redis.UniversalClient) *Reader {
	return &Reader{redis: c, script: redis.NewScript(lookup)}
}

// Lookup returns ErrNoTask where there is none, ErrUndecodable where what stands under its key is no task.
func (r *Reader) Lookup(ctx context.Context, queue, id string) (Task, error) {
	prefix := "asynq:{" + queue + "}:"
	keys := []string{
		prefix + "t:" + id, prefix + "pending", prefix + "active", prefix + "lease",
		prefix + "scheduled", prefix + "retry", prefix + "archived", prefix + "completed",
	}
	found, err := r.script.Run(ctx, r.redis, keys, id).Slice()
	switch {
	case errors.Is(err, redis.Nil):
		return Task{}, ErrNoTask
	case err != nil:
		return Task{}, fmt.Errorf("look up task %s: %w", id, err)
	case len(found) == 0:
		return Task{}, fmt.Errorf("%w: its key does not hold a hash", ErrUndecodable)
	case len(found) != 4:
		return Task{}, fmt.Errorf("look up task %s: the script answered %d values, not 4", id, len(found))
	}
	raw, _ := found[0].(string)
	state, _ := found[1].(string)
	placed, _ := found[2].(int64)
	score, _ := found[3].(string)
	m, err := Decode([]byte(raw))
	if err != nil {
		return Task{}, err
	}
	return Task{Message: m, State: state, Placed: placed == 1, When: timeOf(score)}, nil
}

// timeOf reads a score of Unix seconds. What no clock shows becomes the end of time that a clock shows.
func timeOf(score string) time.Time {
	seconds, err := strconv.ParseFloat(score, 64)
	if err != nil || math.IsNaN(seconds) || seconds == 0 {
		return time.Time{}
	}
	const latest = 253402300799 // 9999-12-31
	return time.Unix(int64(min(max(seconds, -latest), latest)), 0)
}
