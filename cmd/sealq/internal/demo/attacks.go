package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// forgery is one task that somebody who can write to Redis puts there.
type forgery struct {
	name string
	want signing.Reason
	// task is what stands in Redis; signed is what its signature was made for.
	task, signed signing.Task
	keys         *signing.Keys // nil: not signed at all
}

// attacks puts each forgery into Redis and finds it in quarantine for the right reason; then it replays a
// genuine task and sees that nothing happens twice.
func (s *story) attacks(ctx context.Context) error {
	foreign, err := signing.Open(ctx, "file:"+s.stack.RingFile, "another-deployment")
	if err != nil {
		return err
	}
	defer foreign.Close()
	yesterday, err := signing.OpenWith(ctx, signing.NewFile(s.stack.RingFile), audience, signing.Options{
		Now: func() time.Time { return time.Now().Add(-24 * time.Hour) },
	})
	if err != nil {
		return err
	}
	defer yesterday.Close()
	sweep := func(id, args string) signing.Task {
		return signing.Task{Kind: string(authjobs.KindExpirePending), ID: id, Queue: jobs.QueueMaintenance, MaxRetry: 100, Payload: []byte(args)}
	}
	relabelled := sweep("relabelled", `{"tick":"","limit":0}`)
	relabelled.Kind = string(authjobs.KindResetLockouts)
	for _, f := range []forgery{
		{name: "unsigned", want: signing.ReasonMissingSignature, task: sweep("unsigned", `{"tick":"","limit":0}`)},
		{
			name: "altered", want: signing.ReasonBadSignature, keys: s.keys,
			task: sweep("altered", `{"tick":"","limit":9}`), signed: sweep("altered", `{"tick":"","limit":1}`),
		},
		{
			name: "relabelled", want: signing.ReasonBadSignature, keys: s.keys,
			task: relabelled, signed: sweep("relabelled", `{"tick":"","limit":0}`),
		},
		{
			name: "of another audience", want: signing.ReasonBadSignature, keys: foreign,
			task: sweep("foreign", `{"tick":"","limit":0}`), signed: sweep("foreign", `{"tick":"","limit":0}`),
		},
		{
			name: "expired", want: signing.ReasonExpired, keys: yesterday,
			task: sweep("expired", `{"tick":"","limit":0}`), signed: sweep("expired", `{"tick":"","limit":0}`),
		},
	} {
		facts, err := s.attack(ctx, f)
		if err != nil {
			return fmt.Errorf("attack %q: %w", f.name, err)
		}
		s.tell(facts)
	}
	facts, err := s.replay(ctx)
	if err != nil {
		return fmt.Errorf("attack %q: %w", "replayed", err)
	}
	s.tell(facts)
	return nil
}

func (s *story) attack(ctx context.Context, f forgery) (string, error) {
	headers := map[string]string{}
	if f.keys != nil {
		expires := time.Now().Add(time.Hour)
		if f.want == signing.ReasonExpired {
			expires = time.Now().Add(-23 * time.Hour)
		}
		sig, _, err := f.keys.Sign(f.signed, signing.Validity{Expires: expires})
		if err != nil {
			return "", err
		}
		headers[signing.SignatureHeader] = sig
	}
	_, err := asynq.NewClientFromRedisClient(s.stack.Redis).EnqueueContext(ctx,
		asynq.NewTaskWithHeaders(f.task.Kind, f.task.Payload, headers),
		asynq.TaskID(f.task.ID), asynq.Queue(f.task.Queue), asynq.MaxRetry(f.task.MaxRetry))
	if err != nil {
		return "", fmt.Errorf("put the task into Redis: %w", err)
	}
	var kept jobs.Refused
	err = eventually(ctx, "its entry in quarantine", func() (bool, error) {
		entries, err := s.stack.Database.QuarantineList(ctx, 100)
		for _, e := range entries {
			if e.TaskID == f.task.ID {
				kept = e
				return true, err
			}
		}
		return false, err
	})
	if err != nil {
		return "", err
	}
	if kept.Reason != f.want {
		return "", fmt.Errorf("refused as %s, not as %s", kept.Reason, f.want)
	}
	return fmt.Sprintf("%-20s refused: %-18s in quarantine undecoded, %d bytes, SHA-256 %x…", f.name, kept.Reason, kept.Size, kept.PayloadSHA256[:6]), nil
}

// replay copies a genuine task out of Redis while it waits, lets it be done, and puts the copy back.
func (s *story) replay(ctx context.Context) (string, error) {
	const address = "fay@example.org"
	inspector := asynq.NewInspectorFromRedisClient(s.stack.Redis)
	if err := inspector.PauseQueue(jobs.QueueMail); err != nil {
		return "", fmt.Errorf("pause the mail queue: %w", err)
	}
	if _, err := s.users.Register(ctx, accounts.Registration{Email: address, Password: password}); err != nil {
		return "", err
	}
	s.worker.Nudge()
	var id, task string
	err := eventually(ctx, "the mail's task", func() (bool, error) {
		var err error
		if id, err = s.stack.Redis.LIndex(ctx, "asynq:{mail}:pending", 0).Result(); err != nil {
			return false, ignoreNil(err)
		}
		task, err = s.stack.Redis.HGet(ctx, "asynq:{mail}:t:"+id, "msg").Result()
		return err == nil, ignoreNil(err)
	})
	if err != nil {
		return "", err
	}
	if err := inspector.UnpauseQueue(jobs.QueueMail); err != nil {
		return "", fmt.Errorf("unpause the mail queue: %w", err)
	}
	if _, err := s.mailTo(ctx, address); err != nil {
		return "", err
	}
	key := "asynq:{mail}:t:" + id
	err = eventually(ctx, "the end of the genuine task", func() (bool, error) {
		n, err := s.stack.Redis.Exists(ctx, key).Result()
		return n == 0, err //nolint:wrapcheck // eventually names what was waited for
	})
	if err != nil {
		return "", err
	}
	s.forgetVerdicts()
	_, err = s.stack.Redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key, "msg", task, "state", "pending")
		p.LPush(ctx, "asynq:{mail}:pending", id)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("put the copy back: %w", err)
	}
	if err := s.duplicateSeen(ctx); err != nil {
		return "", err
	}
	if n := s.mailsTo(address); n != 1 {
		return "", fmt.Errorf("%s got %d mails, not one", address, n)
	}
	return fmt.Sprintf("%-20s verifies, but its effect is in the ledger: ended as a duplicate, no second mail to %s", "replayed", address), nil
}

func ignoreNil(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

func (s *story) forgetVerdicts() {
	for {
		select {
		case <-s.verdicts:
		default:
			return
		}
	}
}

func (s *story) duplicateSeen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case v := <-s.verdicts:
			if v.Outcome == worker.Duplicate && v.Kind == authjobs.KindMailConfirmation {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("the replayed task was not seen as a duplicate within %v", patience)
		}
	}
}
