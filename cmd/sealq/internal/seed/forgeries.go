package seed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/signing"
)

// pausedQueue is one that an operator has paused, with what waits in it.
const pausedQueue = jobs.QueueDefault

// forgeries are what somebody does who can write to Redis, and what an app does wrongly that has the keys.
func (s *story) forgeries() (day []event) {
	sweep := func(id, args string) signing.Task {
		return signing.Task{Kind: string(authjobs.KindExpirePending), ID: id, Queue: jobs.QueueMaintenance, MaxRetry: 100, Payload: []byte(args)}
	}
	const all, some = `{"tick":"","limit":0}`, `{"tick":"","limit":10}`
	// Somebody tries what he can get: tasks without a signature, and genuine ones that he changed.
	for i := range 6 {
		day = append(day, event{14*time.Hour - time.Duration(i)*7*time.Second, s.put(sweep(fmt.Sprintf("sweep-all-%d", i+1), all), nil)})
	}
	for i := range 3 {
		day = append(day, event{3*time.Hour + time.Duration(i)*time.Minute, func(ctx context.Context) error {
			genuine, forged := sweep(fmt.Sprintf("altered-%d", i+1), some), sweep(fmt.Sprintf("altered-%d", i+1), all)
			return s.put(forged, s.signed(s.keys, genuine, time.Hour))(ctx)
		}})
	}
	moved := sweep("moved", some)
	moved.Kind = string(authjobs.KindResetLockouts)
	var stale map[string]string
	late := make(map[string]map[string]string)
	old := sweep("of-the-old-key", some)
	for _, id := range []string{"captured", "captured-too"} { // genuine, and put there when their time was over
		day = append(day,
			event{5*time.Hour + 30*time.Minute, func(ctx context.Context) (err error) {
				late[id], err = s.signed(s.keys, sweep(id, some), time.Hour)()
				return err
			}},
			event{2 * time.Hour, func(ctx context.Context) error { return s.put(sweep(id, some), have(late[id]))(ctx) }})
	}
	return append(day,
		event{13 * time.Hour, func(ctx context.Context) error {
			return s.put(moved, s.signed(s.keys, sweep("moved", some), time.Hour))(ctx)
		}},
		event{6*time.Hour + 15*time.Minute, func(ctx context.Context) (err error) { stale, err = s.signed(s.keys, old, 12*time.Hour)(); return err }},
		// It was signed with the key that is revoked since.
		event{5*time.Hour + 50*time.Minute, func(ctx context.Context) error { return s.put(old, have(stale))(ctx) }},
		event{80 * time.Minute, func(ctx context.Context) error {
			staging, err := s.keysOf(ctx, "staging")
			if err != nil {
				return err
			}
			defer staging.Close()
			return s.put(sweep("from-staging", some), s.signed(staging, sweep("from-staging", some), time.Hour))(ctx)
		}},
		event{70 * time.Minute, s.put(sweep("scribbled", some), have(map[string]string{signing.SignatureHeader: "not a signature"}))},
		// The app's own mistakes: these verify.
		event{55 * time.Minute, func(ctx context.Context) error {
			t := sweep("a-field-too-many", `{"tick":"","limit":5,"dry_run":true}`)
			return s.put(t, s.signed(s.keys, t, time.Hour))(ctx)
		}},
		event{45 * time.Minute, func(ctx context.Context) error {
			t := sweep("no-such-kind", `{"month":"2026-10"}`)
			t.Kind = "reports:monthly"
			return s.put(t, s.signed(s.keys, t, time.Hour))(ctx)
		}},
		event{5 * time.Minute, s.paused},
	)
}

// headers are those of a task that is put into Redis.
type headers func() (map[string]string, error)

func have(h map[string]string) headers { return func() (map[string]string, error) { return h, nil } }

func (s *story) signed(keys *signing.Keys, t signing.Task, life time.Duration) headers {
	return func() (map[string]string, error) {
		sig, _, err := keys.Sign(t, signing.Validity{Expires: s.clock.now().Add(life)})
		return map[string]string{signing.SignatureHeader: sig}, err
	}
}

// put puts a task into Redis, past the outbox.
func (s *story) put(t signing.Task, with headers) func(context.Context) error {
	return func(ctx context.Context) error { return s.enqueue(ctx, t, with) }
}

func (s *story) enqueue(ctx context.Context, t signing.Task, with headers, more ...asynq.Option) error {
	var h map[string]string
	if with != nil {
		var err error
		if h, err = with(); err != nil {
			return err
		}
	}
	options := append(slices.Clone(more), asynq.TaskID(t.ID), asynq.Queue(t.Queue), asynq.MaxRetry(t.MaxRetry))
	if _, err := s.client.EnqueueContext(ctx, asynq.NewTaskWithHeaders(t.Kind, t.Payload, h), options...); err != nil {
		return fmt.Errorf("put %s into Redis: %w", t.ID, err)
	}
	return nil
}

// paused is a queue that otto paused: some sweeps wait in it, one is for later, and one he has archived.
func (s *story) paused(ctx context.Context) error {
	err := s.db.Record(ctx, audit.Entry{Actor: operators.Actor(operator), Action: "queue.pause", Subject: "queue/" + pausedQueue})
	if err != nil {
		return err
	}
	if err := s.inspector.PauseQueue(pausedQueue); err != nil {
		return fmt.Errorf("pause a queue: %w", err)
	}
	for i, id := range strings.Fields("by-hand-1 by-hand-2 by-hand-3 tonight archived unsigned") {
		t := signing.Task{Kind: string(authjobs.KindExpirePending), ID: id, Queue: pausedQueue, MaxRetry: 100, Payload: fmt.Appendf(nil, `{"tick":"","limit":%d}`, (i+1)*50)}
		with := s.signed(s.keys, t, 20*time.Hour)
		var more []asynq.Option
		switch id {
		case "tonight":
			more = append(more, asynq.ProcessIn(6*time.Hour))
		case "unsigned":
			with = nil
		}
		if err := s.enqueue(ctx, t, with, more...); err != nil {
			return err
		}
	}
	if err := s.inspector.ArchiveTask(pausedQueue, "archived"); err != nil {
		return fmt.Errorf("archive a task: %w", err)
	}
	return nil
}
