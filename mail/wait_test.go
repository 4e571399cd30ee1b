package mail_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
)

// takesItsTime is a hook of a server that looks at the content of each mail.
func takesItsTime(at catcher.Stage, d time.Duration) catcher.Hook {
	return func(ctx context.Context, s catcher.Step) error {
		if s.Stage != at {
			return nil
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return nil
	}
}

// The second mail was out when its time was over, and was sent once more.
func TestWaitingForAConnectionTakesNothingOfTheTimeForTheAnswer(t *testing.T) {
	t.Parallel()
	c := startCatcher(t, catcher.Options{Hook: takesItsTime(catcher.StageData, 1200*time.Millisecond)})
	s := newSender(t, mail.Config{URL: c.URL(), MaxConns: 1, Timeouts: mail.Timeouts{Total: 2 * time.Second, Wait: time.Minute}})
	var both sync.WaitGroup
	for n := range 2 {
		both.Go(func() {
			if _, err := s.Send(bounded(t), numbered(n), nil); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if n := len(c.Messages()); n != 2 {
		t.Errorf("%d mails were taken", n)
	}
}

func TestAMessageThatFindsNoConnectionInTimeIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := startCatcher(t, catcher.Options{})
	s := newSender(t, mail.Config{URL: c.URL(), MaxConns: 1, Timeouts: mail.Timeouts{Wait: 20 * time.Millisecond}})
	_, err := s.Send(bounded(t), numbered(0), func(ctx context.Context) error {
		_, err := s.Send(ctx, numbered(1), nil)
		if diff := cmp.Diff(failure{mail.StageDial, 0, mail.OutcomeTemporary}, failureOf(t, err)); diff != "" {
			t.Error(diff)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Cut off behind its DATA nobody could tell whether it was delivered.
func TestAMessageThatHasTooLittleTimeLeftEndsBeforeItsContent(t *testing.T) {
	t.Parallel()
	var slow sync.Once
	wait := takesItsTime(catcher.StageRcpt, 1100*time.Millisecond)
	c := startCatcher(t, catcher.Options{Hook: func(ctx context.Context, s catcher.Step) error {
		if s.Stage == catcher.StageRcpt {
			slow.Do(func() { _ = wait(ctx, s) })
		}
		return nil
	}})
	s := newSender(t, mail.Config{URL: c.URL(), Timeouts: mail.Timeouts{Total: 2 * time.Second}})
	_, err := s.Send(bounded(t), numbered(0), nil)
	if diff := cmp.Diff(failure{mail.StageData, 0, mail.OutcomeTemporary}, failureOf(t, err)); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Send(bounded(t), numbered(1), nil); err != nil {
		t.Errorf("the next message: %v", err)
	}
	if stats := s.Stats(); stats.Dialled != 1 || stats.Reused != 1 {
		t.Errorf("the connection was not kept: %+v", stats)
	}
	if n := len(c.Messages()); n != 1 {
		t.Errorf("%d mails were taken", n)
	}
}

// Only who gave a connection back woke them; whoever came after the ceiling's end overtook them.
func TestThoseWhoWaitUnderACeilingGoOnWhenItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := mail.NewPool(3)
		for range 2 {
			if err := p.Take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if err := p.Refused(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		for range 2 {
			waiting.Go(func() {
				if err := p.Take(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if diff := cmp.Diff(mail.Stats{Open: 1, Waiting: 3}, p.Stats()); diff != "" {
			t.Error(diff)
		}
		<-time.After(mail.LimitMemory)
		synctest.Wait()
		if diff := cmp.Diff(mail.Stats{Open: 3, Waiting: 1}, p.Stats()); diff != "" {
			t.Errorf("after %v: %s", time.Since(began), diff)
		}
		p.Free()
		waiting.Wait()
	})
}
