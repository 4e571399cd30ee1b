package authworker_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/worker/authworker"
)

// A run finds just before DATA that another one has taken the mail over, because its own lease ran out while its machine was suspended. That other
// one dies without sending. The mail goes out all the same.
func TestALostLeaseDoesNotEndTheMail(t *testing.T) {
	t.Parallel()
	var takeOver func()
	var taken atomic.Bool
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && taken.CompareAndSwap(false, true) {
			takeOver()
		}
		return nil
	}, nil)
	takeOver = func() { s.sql(t, `UPDATE mails SET lease_token = 'another run', lease_until = 1e18`) }
	s.register(t, ada)
	eventually(t, "it gives the mail up", func() bool { return s.outcomes.all()[authjobs.MailError] == 1 })
	s.sql(t, `UPDATE mails SET lease_until = 0`) // the other's lease ends
	s.over(t)
	if n := len(s.mails.Messages()); n != 1 || s.mailsOf(t)[0].SentAt.IsZero() {
		t.Errorf("%d mails were sent, and every outbox row has ended; outcomes %v", n, s.outcomes.all())
	}
}

// otherKey is a store in which another run binds its key just before the first one does, and is gone after it.
type otherKey struct {
	backend
	once sync.Once
	sql  func(statement string)
}

func (o *otherKey) BindActivationKey(ctx context.Context, d authjobs.MailDraft, kid string, hash [32]byte) error {
	first := false
	o.once.Do(func() {
		first = true
		o.sql(`UPDATE pending_users SET kid = '00000000', key_hash = zeroblob(32)`)
	})
	err := o.backend.BindActivationKey(ctx, d, kid, hash)
	if first {
		o.sql(`UPDATE pending_users SET kid = NULL, key_hash = NULL`)
	}
	return err
}

// While keys rotate two runs may derive different ones.
func TestAKeyThatAnotherRunBoundDoesNotEndTheMail(t *testing.T) {
	t.Parallel()
	o := &otherKey{}
	s := newSystem(t, nil, func(b backend) backend { o.backend = b; return o })
	o.sql = func(statement string) { s.sql(t, statement) }
	s.register(t, ada)
	s.over(t)
	if n := len(s.mails.Messages()); n != 1 {
		t.Errorf("%d mails were sent; outcomes %v", n, s.outcomes.all())
	}
}

// Another run closes the effect while this one is in DATA: the reader has used the link of an earlier copy.
func TestA250IsRecordedAlthoughTheEffectWasClosed(t *testing.T) {
	t.Parallel()
	var end func()
	var log lines
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageData {
			end()
		}
		return nil
	}, nil, func(c *authworker.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	end = func() {
		effect := jobs.Effect{Kind: authjobs.KindMailConfirmation, ID: s.mailsOf(t)[0].Row.ID, Keep: time.Hour}
		_, err := s.db.Once(t.Context(), effect, func(context.Context, *sql.Tx) error { return nil })
		check(t, err)
	}
	s.register(t, ada)
	eventually(t, "the 250 is recorded", func() bool { return !s.mailsOf(t)[0].SentAt.IsZero() })
	tries, err := s.db.AttemptsOf(t.Context(), s.mailsOf(t)[0].Row.ID)
	check(t, err)
	if len(tries) != 1 || tries[0].Outcome != authjobs.MailDelivered {
		t.Errorf("the tries are %+v", tries)
	}
	eventually(t, "it is told", func() bool { return strings.Contains(log.String(), `msg="mail sent"`) })
	if strings.Contains(log.String(), "cop") {
		t.Errorf("the reader has one copy, and the log says\n%s", &log)
	}
}

// bounded is a store that tells for how long one record may take, and whose first one is lost on its way.
type bounded struct {
	backend
	longest atomic.Int64
	lost    atomic.Bool
}

func (b *bounded) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx *sql.Tx) error) (bool, error) {
	deadline, ok := ctx.Deadline()
	if longest := time.Until(deadline); !ok || longest > time.Duration(b.longest.Load()) {
		b.longest.Store(int64(longest))
	}
	if b.lost.CompareAndSwap(false, true) {
		return false, fmt.Errorf("as if it had waited for it: %w", context.DeadlineExceeded)
	}
	return b.backend.Once(ctx, e, fn)
}

func TestARecordThatIsLostOnItsWayIsSaidAgainAndLocksNothingForLong(t *testing.T) {
	t.Parallel()
	b := &bounded{}
	s := newSystem(t, nil, func(inner backend) backend { b.backend = inner; return b })
	s.register(t, ada)
	if n := len(s.sent(t)); n != 1 || s.mailsOf(t)[0].SentAt.IsZero() {
		t.Errorf("%d mails", n)
	}
	if longest := time.Duration(b.longest.Load()); longest <= 0 || longest > 30*time.Second {
		t.Errorf("one record may take %v", longest)
	}
}

func TestAServerWhoseAnswersAreAllLostIsGivenThreeCopiesAndNoMore(t *testing.T) {
	t.Parallel()
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageData {
			return catcher.ErrKeepAndDrop
		}
		return nil
	}, nil)
	s.register(t, ada)
	s.over(t)
	copies := s.mails.Messages()
	if len(copies) != 3 {
		t.Fatalf("%d copies; outcomes %v", len(copies), s.outcomes.all())
	}
	for _, c := range copies {
		if !bytes.Equal(copies[0].Data, c.Data) {
			t.Error("the copies differ")
		}
	}
	mail := s.mailsOf(t)[0]
	if diff := cmp.Diff(jobs.RowDead, mail.Row.State); diff != "" || !strings.Contains(mail.Row.Cause, "may have arrived") {
		t.Errorf("the row says %q\n%s", mail.Row.Cause, diff)
	}
}
