package authworker_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
)

const ada = "ada@example.org"

// key takes the activation key out of the mail's link.
func key(t *testing.T, m catcher.Caught) string {
	t.Helper()
	link, err := url.Parse(m.Link())
	check(t, err)
	if base := "https://app.example/base/confirm"; !strings.HasPrefix(link.String(), base+"?key=") {
		t.Fatalf("the link leads to %s, not to %s", link, base)
	}
	return link.Query().Get("key")
}

func (s *system) activate(t *testing.T, key string) error {
	t.Helper()
	return s.db.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := s.accounts.Activate(t.Context(), tx, key)
		return err
	})
}

func TestTheMailedKeyActivatesTheAccountOnce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	s.register(t, ada)
	mails := s.sent(t)
	if len(mails) != 1 {
		t.Fatalf("want one mail, got %d", len(mails))
	}
	m := mails[0]
	if m.Malformed != nil || m.Text == "" || m.HTML == "" || !strings.HasSuffix(m.MessageID, "@mail.app.example") {
		t.Errorf("want text, HTML and our Message-ID: %+v", m)
	}
	k := key(t, m)
	check(t, s.activate(t, k))
	if err := s.activate(t, k); !errors.Is(err, accounts.ErrUnknownKey) {
		t.Errorf("the key again: want ErrUnknownKey, got %v", err)
	}
	if _, err := s.accounts.Authenticate(t.Context(), ada, password); err != nil {
		t.Errorf("log in: %v", err)
	}
}

func TestALinkOutlivesTheKeyThatMadeIt(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	s.register(t, ada)
	k := key(t, s.sent(t)[0])
	file := signing.NewFile(s.ringFile)
	ring, err := file.Update(t.Context(), func(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(time.Now(), nil) })
	check(t, err)
	_, err = file.Update(t.Context(), func(r *signing.Ring) (*signing.Ring, error) {
		return r.PromoteForced(ring.Keys()[1].KID, time.Now())
	})
	check(t, err)
	check(t, s.keys.Reload(t.Context()))
	check(t, s.activate(t, k))
}

func TestATemporaryRefusalIsTriedAgainWithTheSameMessage(t *testing.T) {
	t.Parallel()
	var refusals atomic.Int32
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && refusals.Add(1) == 1 {
			return catcher.Answer(451, "4.7.1 greylisted")
		}
		return nil
	}, nil)
	s.register(t, ada)
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	eventually(t, "the task waits for its retry", func() bool {
		tasks, err := inspector.ListRetryTasks(jobs.QueueMail)
		return err == nil && len(tasks) == 1
	})
	tasks, err := inspector.ListRetryTasks(jobs.QueueMail)
	check(t, err)
	check(t, inspector.RunTask(jobs.QueueMail, tasks[0].ID))
	if n := len(s.sent(t)); n != 1 {
		t.Errorf("want one mail, got %d", n)
	}
}

func TestAPermanentRefusalEndsTheMailAtOnce(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt {
			tries.Add(1)
			return catcher.Answer(550, "5.1.1 no such user")
		}
		return nil
	}, nil)
	s.register(t, ada)
	if mails := s.sent(t); len(mails) != 0 {
		t.Errorf("got %d mails", len(mails))
	}
	if n := tries.Load(); n != 1 {
		t.Errorf("a recipient that does not exist was tried %d times", n)
	}
}

func TestAServerThatCannotBeUsedBlamesNoRecipient(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	check(t, s.mails.Stop())
	s.register(t, ada)
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	var id string
	eventually(t, "the task waits for the server", func() bool {
		tasks, err := inspector.ListRetryTasks(jobs.QueueMail)
		if err != nil || len(tasks) != 1 {
			return false
		}
		id = tasks[0].ID
		if tasks[0].Retried != 0 {
			t.Fatalf("waiting for the server used up %d tries", tasks[0].Retried)
		}
		return true
	})
	check(t, s.mails.Restart())
	check(t, inspector.RunTask(jobs.QueueMail, id))
	if n := len(s.sent(t)); n != 1 {
		t.Errorf("want one mail, got %d", n)
	}
}

// A connection that is lost after the whole message was sent is the one documented window for a second copy.
func TestAnAnswerThatIsLostMakesASecondCopyWithTheSameMessageIDAndDate(t *testing.T) {
	t.Parallel()
	var drops atomic.Int32
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageData && drops.Add(1) == 1 {
			return catcher.ErrKeepAndDrop
		}
		return nil
	}, nil)
	s.register(t, ada)
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	eventually(t, "the task waits for its retry", func() bool {
		tasks, err := inspector.ListRetryTasks(jobs.QueueMail)
		return err == nil && len(tasks) == 1 && inspector.RunTask(jobs.QueueMail, tasks[0].ID) == nil
	})
	mails := s.sent(t)
	if len(mails) != 2 {
		t.Fatalf("want two copies, got %d", len(mails))
	}
	if diff := cmp.Diff(string(mails[0].Data), string(mails[1].Data)); diff != "" {
		t.Errorf("the copies differ (-first +second):\n%s", diff)
	}
}

// failingRecord is a store whose database goes away just when the mail has been accepted.
type failingRecord struct {
	backend
	failures atomic.Int32
}

var errAway = errors.New("the database is away")

func (f *failingRecord) MailSent(ctx context.Context, tx *sql.Tx, d authjobs.MailDraft, a authjobs.MailAnswer) error {
	if f.failures.Add(-1) >= 0 {
		return errAway
	}
	return f.backend.MailSent(ctx, tx, d, a)
}

func TestAnAcceptedMailIsRecordedWhenTheDatabaseComesBackAndNotSentAgain(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, func(b backend) backend {
		f := &failingRecord{backend: b}
		f.failures.Store(3)
		return f
	})
	s.register(t, ada)
	if n := len(s.sent(t)); n != 1 {
		t.Errorf("want one mail, got %d", n)
	}
	status, err := s.accounts.Show(t.Context(), ada)
	check(t, err)
	if status.SentAt == nil {
		t.Error("the mail is not recorded as sent")
	}
}

// lateUser activates, by an earlier mail say, between the mail's claim and its DATA.
type lateUser struct {
	backend
	meanwhile func()
	once      sync.Once
}

func (l *lateUser) BindActivationKey(ctx context.Context, d authjobs.MailDraft, kid string, hash [32]byte) error {
	err := l.backend.BindActivationKey(ctx, d, kid, hash)
	l.once.Do(l.meanwhile)
	return err
}

func TestAMailThatLostItsReasonJustBeforeItLeavesIsNotSent(t *testing.T) {
	t.Parallel()
	late := &lateUser{}
	s := newSystem(t, nil, func(b backend) backend { late.backend = b; return late })
	late.meanwhile = func() {
		b, err := s.db.SweepBatch(context.Background(), sweep.Walk{Part: sweep.Registrations}, 10)
		if b.Gone != 0 || err != nil {
			t.Errorf("nothing is expired yet: %v, %v", b, err)
		}
		again, err := accounts.New(s.db, authjobs.NewNotifier[*sql.Tx](s.db), accounts.Config{
			Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, RegisterAgain: accounts.NewGeneration,
			MailEvery: -1,
		})
		if err == nil {
			err = s.db.InTx(context.Background(), func(tx *sql.Tx) error {
				_, err := again.Register(context.Background(), tx, accounts.Registration{Email: ada, Password: password})
				return err
			})
		}
		if err != nil {
			t.Errorf("register again: %v", err)
		}
	}
	s.register(t, ada)
	mails := s.sent(t)
	if len(mails) != 1 {
		t.Fatalf("want the second generation's mail alone, got %d mails", len(mails))
	}
	check(t, s.activate(t, key(t, mails[0])))
}

func TestTwoTasksOfOneRowSendOneMail(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	var sessions atomic.Int32
	s := newSystem(t, func(ctx context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && sessions.Add(1) == 1 {
			select {
			case <-gate: // the first run is held in the middle of its delivery
			case <-ctx.Done():
			}
		}
		return nil
	}, nil)
	s.register(t, ada)
	eventually(t, "the first run is in the middle of its delivery", func() bool { return sessions.Load() == 1 })
	ids, err := s.redis.LRange(t.Context(), "asynq:{mail}:active", 0, -1).Result()
	check(t, err)
	if len(ids) != 1 {
		t.Fatalf("active: %q", ids)
	}
	// A Redis writer makes the same task pending again while it runs.
	raw, err := s.redis.HGet(t.Context(), "asynq:{mail}:t:"+ids[0], "msg").Result()
	check(t, err)
	s.redis.HSet(t.Context(), "asynq:{mail}:t:"+ids[0]+"copy", "msg", raw, "state", "pending")
	s.redis.LPush(t.Context(), "asynq:{mail}:pending", ids[0]+"copy")
	eventually(t, "the copy was taken", func() bool {
		n, err := s.redis.LLen(t.Context(), "asynq:{mail}:pending").Result()
		return err == nil && n == 0
	})
	close(gate)
	if n := len(s.sent(t)); n != 1 {
		t.Errorf("want one mail, got %d", n)
	}
}

func TestManyRegistrationsGetOneMailEach(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	want := make([]string, 0, 40)
	for n := range 40 {
		address := fmt.Sprintf("user%02d@example.org", n)
		want = append(want, address)
		s.register(t, address)
	}
	var got []string
	for _, m := range s.sent(t) {
		got = append(got, m.To[0])
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recipients (-want +got):\n%s", diff)
	}
}
