package calm

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// stale is how long a task may wait between its fetch and its start. asynq prolongs the leases of running tasks alone.
const stale = 5 * time.Second

// lane is the client of one asynq server: asynq runs its scripts through EvalSha and Eval. It fetches in one goroutine, and ends tasks in many.
type lane struct {
	redis.UniversalClient
	f       *Fetcher
	slots   int
	first   bool // of its process: does for all what one is enough for
	process redis.ProcessHook
	end     redis.ProcessHook // of tasks
	wake    chan struct{}
	half    chan struct{} // half of the slots are free

	asked int // questions of an empty round that are still to come

	mu     sync.Mutex
	buffer []taken          // fetched, and not asked for yet
	held   map[string]taken // by ID, fetched and not ended: what takes up slots
}

// EvalSha implements redis.Scripter.
func (l *lane) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return l.run(ctx, "evalsha", sha, l.f.hook.scripts[sha], keys, args)
}

// Eval implements redis.Scripter.
func (l *lane) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return l.run(ctx, "eval", script, l.f.hook.scripts[shaOf(script)], keys, args)
}

func (l *lane) run(ctx context.Context, name, script string, what script, keys []string, args []any) *redis.Cmd {
	line := make([]any, 0, 3+len(keys)+len(args))
	line = append(line, name, script, len(keys))
	for _, key := range keys {
		line = append(line, key)
	}
	cmd := redis.NewCmd(ctx, append(line, args...)...)
	if len(keys) > 0 {
		cmd.SetFirstKeyPos(3) // for Redis Cluster
	}
	switch what {
	case dequeue:
		message, err := l.next(ctx)
		if err != nil {
			cmd.SetErr(err)
		} else {
			cmd.SetVal(message)
		}
		return cmd
	case housekeep:
		if !l.first {
			cmd.SetVal(int64(0))
			return cmd
		}
	case beat:
		l.reconcile(args)
	case other, finish, finishWrite, requeue, enqueue, taking:
	}
	switch what {
	case finish, finishWrite:
		cmd.SetErr(l.end(ctx, cmd))
		l.ended(text(args[0]))
	case requeue:
		cmd.SetErr(l.process(ctx, cmd))
		l.ended(text(args[0]))
	default:
		cmd.SetErr(l.process(ctx, cmd))
	}
	return cmd
}

// next answers asynq's question for a task of one queue with one of any: asynq goes by what the message says. Once the queues were found
// empty, the questions for the other queues of the same round get the same answer.
func (l *lane) next(ctx context.Context) (string, error) {
	if t, ok := l.pop(ctx); ok {
		l.asked = 0
		return t.message, nil
	}
	if l.asked > 0 {
		l.asked--
		return "", redis.Nil
	}
	if l.f.stopped() {
		l.f.hook.wait(ctx, firstPause)
		return "", redis.Nil
	}
	tasks, err := l.f.fetch(ctx, l)
	if err != nil {
		return "", err
	}
	if len(tasks) == 0 {
		l.asked = len(l.f.queues) - 1
		return "", redis.Nil
	}
	l.hold(tasks)
	return tasks[0].message, nil
}

func (l *lane) pop(ctx context.Context) (taken, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buffer) == 0 || l.f.stopped() {
		return taken{}, false
	}
	t := l.buffer[0]
	if l.f.hook.cfg.Now().Sub(t.at) > stale {
		// Slots were not as free as they seemed. Somebody else may have one.
		_ = l.putBack(context.WithoutCancel(ctx)) // what cannot be put back is taken up when its lease ends
		return taken{}, false
	}
	l.buffer = l.buffer[1:]
	return t, true
}

func (l *lane) hold(tasks []taken) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tasks {
		t.message = ""
		l.drop(t.id) // a second entry of one ID
		l.held[t.id] = t
	}
	l.buffer = tasks[1:]
}

// drop forgets a task. l.mu is held.
func (l *lane) drop(id string) {
	if t, ok := l.held[id]; ok {
		delete(l.held, id)
		l.f.release(t.queue)
	}
}

func (l *lane) ended(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(id)
	if 2*len(l.held) <= l.slots {
		select {
		case l.half <- struct{}{}:
		default:
		}
	}
}

// gatherFor is how long a trip is put off while tasks wait in Redis and few slots are free.
const gatherFor = time.Millisecond

// gather waits a moment for more free slots: where tasks end quickly one trip does for many, and where they do not a millisecond is little.
func (l *lane) gather(ctx context.Context) {
	select {
	case <-l.half:
	default:
	}
	if 2*l.free() >= l.slots {
		return
	}
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	select {
	case <-l.half:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// free is how many tasks the server can begin: the one that it asks for, at least.
func (l *lane) free() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.slots-len(l.held), 1)
}

// reconcile drops what asynq has ended without a word to Redis, because its lease was lost. Its heartbeat names the running tasks.
func (l *lane) reconcile(args []any) {
	running := make(map[string]bool)
	for i := 2; i < len(args); i += 2 { // after the time to live and the server
		running[text(args[i])] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.buffer {
		running[t.id] = true
	}
	for id, t := range l.held {
		if !running[id] && l.f.hook.cfg.Now().Sub(t.at) > stale {
			l.drop(id)
		}
	}
}

func (l *lane) giveBack(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.putBack(ctx)
}

// putBack puts all that is in the buffer back, the last first: they come again in their order. l.mu is held.
func (l *lane) putBack(ctx context.Context) error {
	var errs []error
	for len(l.buffer) > 0 {
		t := l.buffer[len(l.buffer)-1]
		l.buffer = l.buffer[:len(l.buffer)-1]
		l.drop(t.id)
		errs = append(errs, l.f.hook.giveBack(ctx, l.f.client.Process, t, false))
	}
	return errors.Join(errs...)
}
