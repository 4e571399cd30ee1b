package authworker_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
)

func TestALeaseThatADeliveryMayOutlastIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	for name, test := range map[string]struct {
		total, lease time.Duration
		want         []string // nothing: it is good
	}{
		"the defaults":                     {0, 0, nil},
		"just long enough":                 {time.Minute, 150 * time.Second, nil},
		"a second too short":               {time.Minute, 149 * time.Second, []string{"lease of 2m29s", "take 2m0s", "at least 2m30s"}},
		"a server slower than the default": {12*time.Minute + 59*time.Second, 0, nil},
		"a server slower than any run":     {13 * time.Minute, time.Hour, []string{"take 15m0s", "15m0s that a run of mail:confirmation has"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender, err := mail.NewSender(mail.Config{URL: s.mails.URL(), From: "no-reply@app.example", Timeouts: mail.Timeouts{Total: test.total}})
			check(t, err)
			err = authworker.Register(worker.NewHandlers(worker.HandlersConfig{}), backend(s.db), s.swept, authworker.Config{
				Keys: s.keys, Sender: sender, BaseURL: "https://app.example", Lease: test.lease,
			})
			if (err == nil) != (test.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestTenWorkersOnOneOutboxSendEachMailOnce(t *testing.T) {
	t.Parallel()
	var refusals atomic.Int32
	s := newSystem(t, func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageRcpt && refusals.Add(1)%5 == 0 {
			return catcher.Answer(451, "later") // so that some are tried by several workers
		}
		return nil
	}, nil)
	for range 9 {
		s.serve(t, s.db)
	}
	const people = 100
	want := make([]string, people)
	for n := range want {
		want[n] = fmt.Sprintf("user%02d@example.org", n)
		s.register(t, want[n])
	}
	inspector := asynq.NewInspectorFromRedisClient(s.redis)
	eventually(t, "every mail is sent", func() bool {
		_, err := inspector.RunAllRetryTasks(jobs.QueueMail)
		check(t, err)
		return len(s.mails.Messages()) >= people
	})
	var got []string
	for _, m := range s.sent(t) {
		got = append(got, m.To[0])
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recipients (-want +got):\n%s", diff)
	}
}

// dying is a store whose worker ends between the mail server's 250 and its record: the record does not come before the test is over.
type dying struct {
	backend
	dies  atomic.Bool
	dead  chan struct{}
	awake chan struct{}
}

func (d *dying) Once(ctx context.Context, e jobs.Effect, fn func(ctx context.Context, tx *sql.Tx) error) (bool, error) {
	if d.dies.CompareAndSwap(true, false) {
		close(d.dead)
		<-d.awake
	}
	return d.backend.Once(ctx, e, fn)
}

func TestAWorkerThatDiesBetweenThe250AndItsRecordMakesTheOneSecondCopyWithTheSameMessageID(t *testing.T) {
	t.Parallel()
	d := &dying{dead: make(chan struct{}), awake: make(chan struct{})}
	d.dies.Store(true)
	s := newSystem(t, nil, func(b backend) backend { d.backend = b; return d }, func(c *authworker.Config) { c.Lease = 15 * time.Minute })
	s.register(t, ada)
	<-d.dead
	mail := s.mailsOf(t)[0]
	// While its lease holds nobody else sends the mail.
	claim := authjobs.MailClaim{
		MailID: mail.Row.ID, PendingID: mail.AccountID, Generation: mail.Generation, MessageID: "another@example.org", Lease: time.Minute,
	}
	if _, err := s.db.ClaimConfirmation(t.Context(), claim); err == nil || !strings.Contains(err.Error(), "another run is sending the mail") {
		t.Fatalf("a second worker may send it: %v", err)
	}
	if until := mail.LeaseUntil; until.Before(time.Now().Add(14*time.Minute + 29*time.Second)) {
		t.Errorf("the lease ends at %v", until)
	}
	// It ends by itself, and asynq gives the task to another worker.
	s.sql(t, `UPDATE mails SET lease_until = 0`)
	s.serve(t, s.db)
	raw, err := s.redis.HGet(t.Context(), "asynq:{mail}:t:"+mail.Row.TaskID(), "msg").Result()
	check(t, err)
	s.redis.HSet(t.Context(), "asynq:{mail}:t:"+mail.Row.TaskID(), "msg", raw, "state", "pending")
	eventually(t, "another worker sends it", func() bool {
		if len(s.mails.Messages()) == 1 { // the dying worker's own server takes the task back as long as it can
			s.redis.LRem(t.Context(), "asynq:{mail}:pending", 0, mail.Row.TaskID())
			s.redis.LPush(t.Context(), "asynq:{mail}:pending", mail.Row.TaskID())
		}
		return len(s.mails.Messages()) == 2
	})
	close(d.awake)
	mails := s.sent(t)
	if diff := cmp.Diff(string(mails[0].Data), string(mails[1].Data)); len(mails) != 2 || diff != "" {
		t.Errorf("%d copies, which differ (-first +second):\n%s", len(mails), diff)
	}
}
