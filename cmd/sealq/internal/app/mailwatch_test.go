package app_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs/authjobs"
)

func TestAMailServerThatIsAwayAtTheStartIsToldUntilItIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		var tries []time.Duration
		began := time.Now()
		w := app.NewMailWatch(func(context.Context) error {
			tries = append(tries, time.Since(began))
			if len(tries) < 9 {
				return errors.New("connection refused")
			}
			return nil
		}, "mx.example:25", slog.New(slog.NewTextHandler(&logs, nil)))
		if err := w.Err(); err != nil {
			t.Errorf("before it was asked: %v", err)
		}
		ended := make(chan error, 1)
		go func() { ended <- w.Run(t.Context()) }()
		synctest.Wait()
		if err := w.Err(); err == nil || !strings.Contains(err.Error(), "mx.example:25 could not be used since the start: connection refused") {
			t.Errorf("while it is away: %v", err)
		}
		check(t, <-ended)
		if err := w.Err(); err != nil {
			t.Errorf("when it is back: %v", err)
		}
		if n := strings.Count(logs.String(), "level=ERROR"); n != 8 || !strings.Contains(logs.String(), "can be used now") {
			t.Errorf("%d errors in the log:\n%s", n, &logs)
		}
		for i, at := range tries[1:] { // 10, 20, 40 … 300, 300 s, and a quarter
			pause, shortest := at-tries[i], min(10*time.Second<<i, 5*time.Minute)
			if pause < shortest || pause > shortest*5/4+time.Second {
				t.Errorf("pause %d is %v", i, pause)
			}
		}
	})
}

func TestAMailThatIsDeliveredTellsThatTheServerIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w := app.NewMailWatch(func(context.Context) error { return errors.New("connection refused") }, "mx.example:25", slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		synctest.Wait()
		w.Mailed(ctx, authjobs.MailTemporary)
		if w.Err() == nil {
			t.Error("a mail that was not delivered is taken for a proof")
		}
		w.Mailed(ctx, authjobs.MailDelivered)
		if err := w.Err(); err != nil {
			t.Error(err)
		}
		check(t, <-ended) // the next look is the last
		if err := w.Err(); err != nil {
			t.Error(err)
		}
		stop()
	})
}
