package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"
)

// allQueues is the set in which asynq's Inspector finds the queues there are.
const allQueues = "asynq:queues"

// send executes asynq's commands in the order of their rows, in one pipeline, and gives each item whose task Redis has not
// got an error. Each command is a transaction of its own: what is wrong with one queue is wrong with its rows alone. Where the
// connection is lost in the middle it stays open which commands Redis has executed; they come again under the same names,
// and Redis says then which ones it has.
func (r *Relay) send(ctx context.Context, items []*item) {
	if len(items) == 0 {
		return
	}
	waiting := r.execute(ctx, items)
	var unknown []*item
	for _, it := range items {
		if redis.HasErrorPrefix(it.err, "NOSCRIPT") {
			unknown = append(unknown, it)
		}
	}
	if len(unknown) > 0 { // somebody emptied Redis' script cache in the middle
		waiting = r.execute(ctx, unknown)
	}
	r.undo(ctx, items)
	failed := make(map[string]error)
	for _, it := range items {
		if it.err != nil {
			it.err = &heldError{fmt.Errorf("queue %s takes no tasks: %w", it.Queue, it.err)}
			failed[it.Queue] = it.err
		}
	}
	if ctx.Err() != nil {
		return // the process stops: nothing is known of the queues
	}
	for _, queue := range queuesOf(items) {
		r.holds.tried(ctx, queue, failed[queue])
	}
	r.holds.measured(ctx, waiting)
}

// execute runs the commands of items, and says how many tasks wait in their queues afterwards.
func (r *Relay) execute(ctx context.Context, items []*item) map[string]int64 {
	queues := queuesOf(items)
	pipe := r.redis.Pipeline()
	// A flushed Redis has forgotten its queues, and asynq's own client, which announces each once, would never tell it again.
	announced := pipe.SAdd(ctx, allQueues, queues)
	type place struct{ queue, script string } // in a cluster each queue is on a node of its own
	sent := make(map[place]bool)
	calls := make([]*redis.Cmd, len(items))
	for i, it := range items {
		at := place{it.Queue, it.command.script}
		calls[i] = r.call(ctx, it.command, !sent[at])
		sent[at] = true
		_ = pipe.Process(ctx, calls[i]) // a pipeline takes it, and runs it in Exec
	}
	gauges := gaugesOf(ctx, pipe, queues, r.cfg.Now())
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, it := range items {
		it.err = r.answer(calls[i])
	}
	r.tellOfAnnouncing(ctx, announced.Err())
	return gauges.read()
}

// undoing deletes a task that is not where its state says. A task that another relay has enqueued under the same name since,
// because this one was stalled, stays. KEYS: task, pending, scheduled. ARGV: task ID.
const undoing = `
local function call(...)
	local r = redis.pcall(...)
	return not (type(r) == 'table' and r.err) and r
end
local state = call('HGET', KEYS[1], 'state')
local placed = state ~= 'pending' and state ~= 'scheduled'
if state == 'pending' then placed = call('LPOS', KEYS[2], ARGV[1]) end
if state == 'scheduled' then placed = call('ZSCORE', KEYS[3], ARGV[1]) end
if placed then return 0 end
return redis.call('DEL', KEYS[1])`

// undo removes what a script that failed in the middle has left behind: Redis undoes nothing, and asynq's script would find the
// task's key the next time and answer that the task is there, though no list or set holds it. It fails so where the list or
// set is something else, and only after it has found that there is no such key. Where undo fails as well, reconcile finds the
// task out of its place.
func (r *Relay) undo(ctx context.Context, items []*item) {
	pipe := r.redis.Pipeline()
	for _, it := range items {
		_, answered := errors.AsType[redis.Error](it.err)
		if answered && strings.Contains(it.err.Error(), "WRONGTYPE") { // Redis 6 puts other words first
			prefix := "asynq:{" + it.Queue + "}:"
			pipe.Eval(ctx, undoing, []string{prefix + "t:" + it.TaskID(), prefix + "pending", prefix + "scheduled"}, it.TaskID())
		}
	}
	if pipe.Len() > 0 {
		_, _ = pipe.Exec(ctx)
	}
}

// call calls a script by its name, or by its source where the node may not have it.
func (r *Relay) call(ctx context.Context, c command, first bool) *redis.Cmd {
	head := []any{"evalsha", c.script}
	if source, known := r.recorder.scripts.source(c.script); first && known {
		head = []any{"eval", source}
	}
	cmd := redis.NewCmd(ctx, append(head, c.args...)...)
	cmd.SetFirstKeyPos(3) // after the command, the script and the number of keys
	return cmd
}

// answer reads the answer of asynq's enqueueing scripts: 1 is "enqueued", 0 "there is a task of this ID". That may be of an
// earlier claim, which got this far, or somebody may squat on the name: which of the two, reconcile finds out by the bytes.
func (r *Relay) answer(call *redis.Cmd) error {
	n, err := call.Int64()
	switch {
	case err != nil:
		return err //nolint:wrapcheck // send does
	case n == 1:
		r.counts.relayed.Add(1)
		return nil
	case n == 0:
		r.counts.present.Add(1)
		return nil
	}
	return fmt.Errorf("asynq's script answered %d: %w", n, errUnknownCommand)
}

// tellOfAnnouncing tells once that queues cannot be announced. Only people's views need it: it keeps no row.
func (r *Relay) tellOfAnnouncing(ctx context.Context, err error) {
	_, answered := errors.AsType[redis.Error](err)
	if answered && !r.unannounced {
		r.cfg.Logger.ErrorContext(ctx, "queues cannot be announced, dashboards will not list new ones", slog.String("key", allQueues), slog.Any("error", err))
	}
	if err == nil || answered {
		r.unannounced = answered
	}
}

// queuesOf lists the queues of items, each once, in the order of their first items.
func queuesOf(items []*item) []string {
	var queues []string
	seen := make(map[string]bool)
	for _, it := range items {
		if !seen[it.Queue] {
			seen[it.Queue] = true
			queues = append(queues, it.Queue)
		}
	}
	return queues
}
