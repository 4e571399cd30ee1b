package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker/calm"
)

// Hook is for the Redis client that an asynq server behind v is made of, added once, before NewServerFromRedisClient; a Server
// brings its own. It closes faults of asynq itself, each described in package calm: a task that ended while Redis was away stays
// ended, fetching does not spin, no message reaches asynq that names another task or queue than the place it was fetched from. Such
// messages go to v's quarantine as malformed, or stay under their keys where v archives. It is a Gate on MayFetch too.
func (v *Verifier) Hook() redis.Hook { return v.hook(nil) }

// Conn is Hook for an app that gives asynq.NewServer an address: what it makes of r has the hook.
func (v *Verifier) Conn(r asynq.RedisConnOpt) asynq.RedisConnOpt { return hooked{r, v} }

type hooked struct {
	asynq.RedisConnOpt
	verifier *Verifier
}

// MakeRedisClient implements asynq.RedisConnOpt.
func (h hooked) MakeRedisClient() any {
	c := h.RedisConnOpt.MakeRedisClient()
	if client, ok := c.(redis.UniversalClient); ok {
		client.AddHook(h.verifier.Hook())
	}
	return c
}

// hook also asks inHand, where not nil, how many tasks of a queue may be in hand. It is Handlers', whose kinds have timeouts of their own.
func (v *Verifier) hook(inHand func(queue string) int) *calm.Hook {
	c := calm.Config{OwnTimes: inHand != nil, OnMend: v.cfg.OnMend, Logger: v.cfg.Logger, Now: v.cfg.Now, InHand: func(queue string) int {
		switch {
		case !v.MayFetch(queue):
			return 0
		case inHand != nil:
			return inHand(queue)
		}
		return unlimited
	}}
	const besides = 1 << 20 // of a message, besides its payload
	c.MaxMessage = max(rawtask.MaxMessage, v.keys.MaxPayload()+besides)
	if v.quarantine != nil {
		c.Stray = v.keepStray
	}
	return calm.New(c)
}

// keepStray puts what is no task of its queue into quarantine: as the task that its message says it is, refused for what is wrong with that,
// or else its bytes.
func (v *Verifier) keepStray(ctx context.Context, s calm.Stray) error {
	t, refusal := v.judgeStray(ctx, s)
	entry := refused(t, refusal, v.cfg.Now())
	entry.Detail = fmt.Sprintf("%v: %v: it lay as %q in queue %q", refusal, s.Cause, shown(s.ID), shown(s.Queue))
	entry.RowID, entry.RowKind, entry.Attempt = "", "", 0 // the row's own task is not this one
	return v.keep(ctx, entry)
}

// judgeStray verifies the task that the message says it is, and decodes nothing. What is genuine and lies in another queue than its own is of the
// wrong queue; under another ID it is malformed.
func (v *Verifier) judgeStray(ctx context.Context, s calm.Stray) (signing.Task, *signing.Refusal) {
	malformed := &signing.Refusal{Reason: signing.ReasonMalformed}
	m, err := rawtask.Decode(s.Message)
	if err != nil {
		return signing.Task{ID: s.ID, Queue: s.Queue, Payload: s.Message}, malformed
	}
	t := signing.Task{Kind: m.Kind, ID: m.ID, Queue: m.Queue, MaxRetry: m.MaxRetry, Headers: m.Headers, Payload: m.Payload}
	here := signing.Rules{ServesQueue: func(queue string) bool { return queue == s.Queue }}
	_, err = v.keys.VerifyWith(ctx, t, t.Headers[signing.SignatureHeader], here)
	if refusal, ok := errors.AsType[*signing.Refusal](err); ok {
		return t, refusal
	}
	return t, malformed
}
