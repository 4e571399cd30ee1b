package relay

import (
	"context"
	"crypto/sha1" //nolint:gosec // by which Redis names scripts
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// recorder turns a row into the command by which asynq would enqueue it, and sends nothing: asynq has no batch call, and
// enqueueing one by one takes a round trip each or loses the order. An Enqueuer enqueues into an asynq client whose Redis is
// not there; a hook answers every command as an empty Redis would, and keeps it. So every byte is of asynq's own making.
type recorder struct {
	enqueuer *jobs.Enqueuer
	scripts  *scripts
}

// command is one call of an asynq script that enqueues a task.
type command struct {
	script string // its name: the SHA-1 of its source
	args   []any  // what follows the name: the number of keys, the keys, the arguments
	kid    string // of the key that signed the task
}

func newRecorder(k *signing.Keys, cfg jobs.Config) (*recorder, error) {
	s := &scripts{sources: make(map[string]string)}
	c := redis.NewClient(&redis.Options{
		Addr: "recorder.invalid:0",
		// Else it would have goroutines, and something to close.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	c.AddHook(recording{s})
	e, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(c), k, cfg)
	if err != nil {
		return nil, err
	}
	return &recorder{enqueuer: e, scripts: s}, nil
}

// command checks and signs a row, and returns what is to be sent.
func (r *recorder) command(ctx context.Context, row jobs.ClaimedRow, d jobs.Definition) (command, error) {
	var c command
	receipt, err := r.enqueuer.EnqueueRow(context.WithValue(ctx, commandKey{}, &c), row, d)
	if err != nil {
		return command{}, err
	}
	if c.args == nil {
		return command{}, fmt.Errorf("enqueue %s: %w", row.Kind, errUnknownCommand)
	}
	c.kid = receipt.KID
	return c, nil
}

// errUnknownCommand means that asynq enqueues in another way than it did when this was written.
var errUnknownCommand = errors.New("the relay does not know the command by which asynq enqueues")

type commandKey struct{}

// scripts are asynq's, by their names. They are learned from asynq itself: it sends the source where the name is not known.
type scripts struct {
	mu      sync.RWMutex
	sources map[string]string
}

func (s *scripts) source(name string) (string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	source, known := s.sources[name]
	return source, known
}

func (s *scripts) learn(source string) (name string) {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // by which Redis names scripts
	name = hex.EncodeToString(sum[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources[name] = source
	return name
}

// recording is the hook that answers.
type recording struct{ scripts *scripts }

func (recording) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("the recorder has no network")
	}
}

func (h recording) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := h.answer(ctx, cmd)
		cmd.SetErr(err)
		return err
	}
}

// answer answers what asynq sends to enqueue a task: SADD of the queue, once, and a script by its name, or by its source where
// its name is answered with NOSCRIPT.
func (h recording) answer(ctx context.Context, cmd redis.Cmder) error {
	args := cmd.Args()
	recorded, ours := ctx.Value(commandKey{}).(*command)
	if announced, ok := cmd.(*redis.IntCmd); ok && cmd.Name() == "sadd" {
		announced.SetVal(1)
		return nil
	}
	called, ok := cmd.(*redis.Cmd)
	if !ok || !ours || len(args) < 3 {
		return errUnknownCommand
	}
	text, _ := args[1].(string)
	switch cmd.Name() {
	case "evalsha":
		if _, known := h.scripts.source(text); !known {
			return noScriptError{}
		}
	case "eval":
		text = h.scripts.learn(text)
	default:
		return errUnknownCommand
	}
	*recorded = command{script: text, args: args[2:]}
	called.SetVal(int64(1)) // enqueued
	return nil
}

func (recording) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return errUnknownCommand }
}

// noScriptError is what Redis says of a script that it was not sent before.
type noScriptError struct{}

func (noScriptError) Error() string { return "NOSCRIPT No matching script" }

// RedisError makes it an answer in go-redis's eyes.
func (noScriptError) RedisError() {}
