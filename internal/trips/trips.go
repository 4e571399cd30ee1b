// Package trips lets goroutines share round trips to Redis: what several of them send at the same time, tasks to enqueue or tasks
// that have ended, travels in one pipeline. A command costs the process and Redis a read and a write each, and these are most of
// what it costs to enqueue or to end a task; a pipeline has them once.
//
// It waits for nobody. A call that is alone is sent as it would be without this package. A call that is not lets the
// goroutines run once that are ready to, and takes along those that call as well: a pipeline is as long as the process is
// busy, and none waits for another. It sends nothing twice, and knows of asynq only that a client of its enqueues by EVALSHA.
package trips

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// most is how many calls one pipeline has at most.
const most = 128

// Share is r for an asynq client, or several, whose calls share round trips. All but EvalSha goes straight to r.
func Share(r redis.UniversalClient) redis.UniversalClient { return share(r, runtime.Gosched) }

func share(r redis.UniversalClient, yield func()) *shared {
	_, spread := r.(*redis.ClusterClient)
	return &shared{UniversalClient: r, spread: spread, yield: yield, gathering: make(map[string]*trip)}
}

// Process is a redis.ProcessHook whose commands share round trips: scripts on the keys of one queue, the first of which says on which node of
// a cluster it is. It returns when its command has an answer, whatever ctx says.
func Process(r redis.UniversalClient) redis.ProcessHook { return share(r, runtime.Gosched).process }

type shared struct {
	redis.UniversalClient
	spread bool // over nodes: a trip has the calls of one queue, so that no call waits for a node that is not its own
	yield  func()

	calls atomic.Int64 // being made

	mu        sync.Mutex
	gathering map[string]*trip // trips that still take calls, by their queue where the keys are spread
}

// trip is one pipeline.
type trip struct {
	cmds []redis.Cmder
	done chan struct{} // closed when each command has its answer
}

// EvalSha calls a script by its name. Where ctx ends first it stays open whether the script ran.
func (s *shared) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	alone := s.calls.Add(1) == 1
	defer s.calls.Add(-1)
	if alone {
		return s.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	}
	cmd := evalSha(ctx, sha1, keys, args)
	if err := ctx.Err(); err != nil {
		cmd.SetErr(err)
		return cmd
	}
	t, first := s.join(s.place(keys), cmd)
	if first {
		s.yield()
		if s.leave(s.place(keys), t) == 1 {
			_ = s.Process(ctx, cmd) // cmd has the error, too
			return cmd
		}
		// Not in this goroutine, whose call may be given up before the others. It ends with the pipeline, which ends by the
		// client's timeouts; the callers wait for it.
		go s.send(context.WithoutCancel(ctx), t)
	}
	select {
	case <-t.done:
		return cmd
	case <-ctx.Done(): // cmd is the pipeline's still
		return failed(ctx)
	}
}

func (s *shared) process(ctx context.Context, cmd redis.Cmder) error {
	alone := s.calls.Add(1) == 1
	defer s.calls.Add(-1)
	if alone {
		return s.Process(ctx, cmd) //nolint:wrapcheck // Redis's own
	}
	place := ""
	if args := cmd.Args(); s.spread && len(args) > head {
		place = fmt.Sprint(args[head])
	}
	t, first := s.join(place, cmd)
	if !first {
		<-t.done
		return cmd.Err() //nolint:wrapcheck // Redis's own
	}
	s.yield()
	if s.leave(place, t) == 1 {
		return s.Process(ctx, cmd) //nolint:wrapcheck // Redis's own
	}
	s.send(context.WithoutCancel(ctx), t)
	return cmd.Err() //nolint:wrapcheck // Redis's own
}

func (s *shared) place(keys []string) string {
	if !s.spread || len(keys) == 0 {
		return ""
	}
	return keys[len(keys)-1] // in asynq's enqueuing scripts it is the queue's list or set
}

// join puts cmd on the trip that gathers, and says whether it is the first there.
func (s *shared) join(place string, cmd redis.Cmder) (t *trip, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t = s.gathering[place]
	if first = t == nil; first {
		t = &trip{done: make(chan struct{})}
		s.gathering[place] = t
	}
	t.cmds = append(t.cmds, cmd)
	if len(t.cmds) == most {
		delete(s.gathering, place)
	}
	return t, first
}

// leave ends the gathering, and says how many are on the trip.
func (s *shared) leave(place string, t *trip) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gathering[place] == t {
		delete(s.gathering, place)
	}
	return len(t.cmds)
}

func (s *shared) send(ctx context.Context, t *trip) {
	defer close(t.done)
	defer func() {
		if p := recover(); p != nil { // in a hook; without a trip it would be the caller's to recover
			for _, cmd := range t.cmds {
				cmd.SetErr(fmt.Errorf("send %d calls in a pipeline: panic: %v", len(t.cmds), p))
			}
		}
	}()
	pipe := s.Pipeline()
	_ = pipe.BatchProcess(ctx, t.cmds...) // takes them, and runs them in Exec
	_, _ = pipe.Exec(ctx)                 // each command has its own error
}

// head is how many words of a call of a script come before its keys.
const head = 3

// evalSha is the command that go-redis makes.
func evalSha(ctx context.Context, sha1 string, keys []string, args []any) *redis.Cmd {
	all := make([]any, head, head+len(keys)+len(args))
	all[0], all[1], all[2] = "evalsha", sha1, len(keys)
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	if len(keys) > 0 {
		cmd.SetFirstKeyPos(head)
	}
	return cmd
}

func failed(ctx context.Context) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(ctx.Err())
	return cmd
}
