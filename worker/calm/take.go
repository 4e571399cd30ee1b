package calm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs/rawtask"
)

// takeScript does what asynq's dequeue script does, for several queues and tasks at once, and tells under which ID each message
// was found. First each queue gives up to its share, then all give what is still wanted up to their limits, in their order. A list
// entry without a message is dropped: asynq takes it for an empty queue, so that a few of them stop a queue for as many polls. What is
// not of the type that asynq gives it is left alone, and the other queues go on. Whatever else Redis answers, that it is a replica, is full, or
// that its user may not read a task, says nothing of what lies there: nothing is dropped for it, and where it keeps all queues
// from being fetched from it is the script's own error.
//
// KEYS: of each queue pending, paused, active, lease. ARGV: the lease's end, how many tasks and bytes at most, how many bytes of one message; of each
// queue the prefix of its tasks' keys, its share and its limit. It answers how many entries were dropped, how many queues are unusable, an error that
// kept others from being fetched from, and then of each task its queue's number, ID and message, of which one byte too many says that it is longer.
const takeScript = `
local left, bytes, longest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local looks = left + 100
local out, dropped, unusable, asked, faulty, fault = {0, 0, ''}, 0, 0, 0, 0, ''
local open, limit = {}, {}
local function wrongType(answer) return type(answer) == 'table' and answer.err and string.find(answer.err, 'WRONGTYPE', 1, true) end
local function shut(q, answer)
	open[q] = false
	if wrongType(answer) then
		unusable = unusable + 1
	elseif type(answer) == 'table' then
		faulty = faulty + 1
		fault = answer.err or 'unknown'
	end
end
local function fill(q, share)
	local k, prefix = 4 * (q - 1), ARGV[2 + 3 * q]
	while open[q] and share > 0 and left > 0 and bytes > 0 and looks > 0 do
		looks = looks - 1
		local id = redis.pcall('RPOPLPUSH', KEYS[k + 1], KEYS[k + 3])
		if type(id) ~= 'string' then return shut(q, id) end
		local key = prefix .. id
		local msg = #id <= longest and redis.pcall('HGET', key, 'msg')
		local leased = msg
		if type(msg) == 'string' then leased = redis.pcall('ZADD', KEYS[k + 4], ARGV[1], id) end
		if not msg or wrongType(msg) then
			redis.call('LREM', KEYS[k + 3], 1, id)
			dropped = dropped + 1
		elseif type(leased) ~= 'number' then
			redis.call('LREM', KEYS[k + 3], 1, id)
			redis.call('RPUSH', KEYS[k + 1], id)
			shut(q, leased)
		else
			redis.call('HSET', key, 'state', 'active')
			redis.call('HDEL', key, 'pending_since')
			out[#out + 1] = q
			out[#out + 1] = id
			out[#out + 1] = string.sub(msg, 1, longest + 1)
			left, share, bytes, limit[q] = left - 1, share - 1, bytes - #id - math.min(#msg, longest), limit[q] - 1
		end
	end
end
local queues = #KEYS / 4
for q = 1, queues do
	open[q] = redis.call('EXISTS', KEYS[4 * q - 2]) == 0
	if open[q] then asked = asked + 1 end
	limit[q] = tonumber(ARGV[4 + 3 * q])
	fill(q, tonumber(ARGV[3 + 3 * q]))
end
for q = 1, queues do fill(q, limit[q]) end
if faulty > 0 and faulty + unusable == asked and #out == 3 then return redis.error_reply(fault) end
out[1], out[2], out[3] = dropped, unusable, fault
return out`

// discardScript takes a stray out of its queue's lists; its hash only where that still holds these bytes, and where ARGV[3] says so.
// KEYS: task, active, lease. ARGV: ID, message as takeScript answers it, whether to delete, how many bytes of a message that is at most.
const discardScript = `
if ARGV[3] == '1' then
	local msg = redis.pcall('HGET', KEYS[1], 'msg')
	if type(msg) == 'string' and string.sub(msg, 1, tonumber(ARGV[4]) + 1) == ARGV[2] then redis.call('DEL', KEYS[1]) end
end
redis.pcall('ZREM', KEYS[3], ARGV[1])
return redis.call('LREM', KEYS[2], 1, ARGV[1])`

// giveBackScript puts a fetched task back: to the near end of its queue, or to the far one. KEYS: active, lease, pending, task. ARGV: ID, far.
const giveBackScript = `
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call(ARGV[2] == '1' and 'LPUSH' or 'RPUSH', KEYS[3], ARGV[1])
redis.call('HSET', KEYS[4], 'state', 'pending')
return 1`

// leaseFor is asynq's own duration (rdb.LeaseDuration).
const leaseFor = 30 * time.Second

// mostBytes bounds the messages of one trip, but for the last of them.
const mostBytes = 1 << 20

// Stray is what was fetched from a queue and is no task of it.
type Stray struct {
	Queue   string
	ID      string // that its list holds, and its key ends in
	Message []byte // its first Config.MaxMessage bytes, where it is longer
	Cause   error  // rawtask.ErrUndecodable, rawtask.ErrTooLarge, or ErrMisplaced
}

// ErrMisplaced means that a message names another task or another queue than the place where it was found.
var ErrMisplaced = errors.New("the message names another task or queue than the place where it lies")

// want is a queue, how many tasks it is asked for before the others are asked for more, and how many at most.
type want struct {
	queue        string
	share, limit int
}

// taken is a task that is active now, under a lease.
type taken struct {
	queue, id, message string
	at                 time.Time
}

// take fetches up to most tasks, and says how many it found, strays too. On a Redis Cluster wants must have one queue.
func (h *Hook) take(ctx context.Context, run redis.ProcessHook, wants []want, most int) (tasks []taken, found int, err error) {
	began := h.cfg.Now()
	keys := make([]any, 0, 4*len(wants))
	args := append(make([]any, 0, 4+3*len(wants)), began.Add(leaseFor).Unix(), most, mostBytes, h.cfg.MaxMessage)
	for _, w := range wants {
		prefix := "asynq:{" + w.queue + "}:"
		keys = append(keys, prefix+"pending", prefix+"paused", prefix+"active", prefix+"lease")
		args = append(args, prefix+"t:", w.share, w.limit)
	}
	answer, err := h.eval(ctx, run, h.lua.take, keys, args)
	if err != nil {
		return nil, 0, err
	}
	values, _ := answer.([]any)
	if len(values) < 3 || len(values)%3 != 0 {
		return nil, 0, fmt.Errorf("fetch tasks: the script answered %d values", len(values))
	}
	h.tellFaults(ctx, values[0], values[1], values[2])
	keeps := true
	for v := values[3:]; len(v) > 0; v = v[3:] {
		number, _ := v[0].(int64)
		id, _ := v[1].(string)
		message, _ := v[2].(string)
		if number < 1 || int(number) > len(wants) {
			return tasks, found, fmt.Errorf("fetch tasks: the script answered queue %d of %d", number, len(wants))
		}
		found++
		t := taken{queue: wants[number-1].queue, id: id, message: message, at: began}
		m, err := h.misplaced(t)
		if err != nil {
			keeps = h.stray(ctx, run, t, err, keeps)
			continue
		}
		t.message = h.mended(ctx, t, m)
		tasks = append(tasks, t)
	}
	return tasks, found, nil
}

// tellFaults logs what somebody wrote into the queues' keys that cannot be fetched. It may be there at each poll: it is told seldom.
func (h *Hook) tellFaults(ctx context.Context, dropped, unusable, fault any) {
	if n, _ := dropped.(int64); n > 0 && h.seldom.may("dropped") {
		h.cfg.Logger.WarnContext(ctx, "list entries without a task dropped", slog.Int64("entries", n))
	}
	if n, _ := unusable.(int64); n > 0 && h.seldom.may("unusable") {
		h.cfg.Logger.ErrorContext(ctx, "queues cannot be fetched from: their keys pending, active or lease are not of asynq's types; delete what is wrong",
			slog.Int64("queues", n))
	}
	if text, _ := fault.(string); text != "" && h.seldom.may("fault") {
		attrs := []any{slog.String("error", text)}
		if rawtask.Denied(errors.New(text)) {
			attrs = append(attrs, slog.String("advice", rightsAdvice))
		}
		h.cfg.Logger.ErrorContext(ctx, "some queues cannot be fetched from", attrs...)
	}
}

// misplaced says what is wrong with a message at the place where it was found.
func (h *Hook) misplaced(t taken) (rawtask.Message, error) {
	if len(t.message) > h.cfg.MaxMessage {
		return rawtask.Message{}, rawtask.ErrTooLarge
	}
	m, err := rawtask.Decode([]byte(t.message))
	if err == nil && (m.ID != t.id || m.Queue != t.queue) {
		err = ErrMisplaced
	}
	return m, err
}

var errKeepsNone = errors.New("one before it could not be kept")

// stray takes what is no task of its queue out of it. What cannot be kept first goes to the far end: it comes again, after all others. Tasks that
// were fetched in the same trip wait for this, so that nothing more is kept (false) once something could not be.
func (h *Hook) stray(ctx context.Context, run redis.ProcessHook, t taken, cause error, keeps bool) bool {
	prefix := "asynq:{" + t.queue + "}:"
	log := h.cfg.Logger.With(slog.String("queue", t.queue), slog.Int("size", len(t.message)), slog.String("cause", cause.Error()))
	remove := "0"
	if h.cfg.Stray != nil {
		remove = "1"
		err := errKeepsNone
		if keeps {
			err = h.cfg.Stray(ctx, Stray{Queue: t.queue, ID: t.id, Message: []byte(t.message), Cause: cause})
		}
		if err != nil {
			if h.seldom.may("stray not kept") {
				log.ErrorContext(ctx, "stray message cannot be kept, it stays in the queue", slog.Any("error", err))
			}
			if err := h.giveBack(ctx, run, t, true); err != nil && h.seldom.may("stray not put back") {
				log.ErrorContext(ctx, "stray message cannot be put back", slog.Any("error", err))
			}
			return false
		}
	}
	_, err := h.eval(ctx, run, h.lua.discard, []any{prefix + "t:" + t.id, prefix + "active", prefix + "lease"}, []any{t.id, t.message, remove, h.cfg.MaxMessage})
	switch {
	case err != nil && h.seldom.may("stray not taken"):
		log.ErrorContext(ctx, "stray message cannot be taken out of the queue", slog.Any("error", err))
	case err == nil && h.seldom.may("stray taken"):
		log.WarnContext(ctx, "stray message taken out of the queue")
	}
	return keeps
}

// giveBack puts a task back that nobody has begun.
func (h *Hook) giveBack(ctx context.Context, run redis.ProcessHook, t taken, far bool) error {
	prefix := "asynq:{" + t.queue + "}:"
	end := "0"
	if far {
		end = "1"
	}
	_, err := h.eval(ctx, run, h.lua.giveBack, []any{prefix + "active", prefix + "lease", prefix + "pending", prefix + "t:" + t.id}, []any{t.id, end})
	return err
}

// eval runs a script by its hash, and by its text where Redis does not know it yet.
func (h *Hook) eval(ctx context.Context, run redis.ProcessHook, s lua, keys, args []any) (any, error) {
	line := append(append(append(make([]any, 0, 3+len(keys)+len(args)), "evalsha", s.sha, len(keys)), keys...), args...)
	cmd := redis.NewCmd(ctx, line...)
	cmd.SetFirstKeyPos(3) // for Redis Cluster
	err := run(ctx, cmd)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		line[0], line[1] = "eval", s.text
		cmd = redis.NewCmd(ctx, line...)
		cmd.SetFirstKeyPos(3)
		err = run(ctx, cmd)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	return cmd.Val(), nil
}

// dequeue answers asynq's dequeue script: with a task of that queue that is one, or as for an empty queue. While Redis does not answer it
// waits before it says so.
func (h *Hook) dequeue(ctx context.Context, cmd redis.Cmder, c call, next redis.ProcessHook) error {
	answer, ok := cmd.(*redis.Cmd)
	if !ok || !looksLikeDequeue(c.keys) {
		return refuse(cmd)
	}
	queue := queueOf(c.keys[0])
	if h.cfg.InHand != nil && h.cfg.InHand(queue) <= 0 {
		answer.SetErr(redis.Nil)
		return redis.Nil
	}
	tasks, _, err := h.take(ctx, next, []want{{queue, 1, 1}}, 1)
	if err = h.fetched(ctx, err); err == nil && len(tasks) == 0 {
		err = redis.Nil
	}
	if err != nil {
		answer.SetErr(err)
		return err
	}
	h.publish(ctx, queue, next)
	answer.SetVal(tasks[0].message)
	return nil
}

// fetched notes how a fetch ended, and waits after one that failed.
func (h *Hook) fetched(ctx context.Context, err error) error {
	if err == nil {
		h.outage.answered()
		return nil
	}
	h.wait(ctx, h.outage.failed(err))
	return err
}
