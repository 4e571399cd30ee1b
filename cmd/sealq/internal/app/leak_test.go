package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
)

// key is what a mail's link activates with.
func key(t *testing.T, m catcher.Caught) string {
	t.Helper()
	link, err := url.Parse(m.Link())
	check(t, err)
	return link.Query().Get("key")
}

// onlyTheLastLinkIsGood follows every link that an address was sent, the last one last.
func (s *system) onlyTheLastLinkIsGood(t *testing.T, address string) {
	t.Helper()
	mails := s.mailsTo(address)
	for i, m := range mails {
		_, err := s.accounts.Operator("test").Activate(t.Context(), key(t, m))
		if last := i == len(mails)-1; last && err != nil {
			t.Errorf("%s: the link of the last of %d mails: %v", address, len(mails), err)
		} else if !last && !errors.Is(err, accounts.ErrUnknownKey) {
			t.Errorf("%s: the link of mail %d of %d is not void: %v", address, i+1, len(mails), err)
		}
	}
}

// queued are the addresses whose confirmation stands in Redis and was not fetched yet, by task ID.
func (s *system) queued(t *testing.T, registered map[string]string) map[string]string {
	t.Helper()
	tasks, err := asynq.NewInspectorFromRedisClient(s.redis).ListPendingTasks(jobs.QueueMail, asynq.PageSize(1000))
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return nil
	}
	check(t, err)
	found := make(map[string]string)
	for _, task := range tasks {
		var args struct {
			PendingID string `json:"pending_id"`
		}
		check(t, json.Unmarshal(task.Payload, &args))
		found[task.ID] = registered[args.PendingID]
	}
	return found
}

// The leak drill: a key leaks while the queue is full of tasks under it and links made with it are in people's mailboxes.
func TestALeakedKeyIsRevokedInMidRunAndEveryJobStillHappensOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		var holding atomic.Bool // the mail server answers nobody
		release := make(chan struct{})
		s.mails = s.catch(func(ctx context.Context, step catcher.Step) error {
			if step.Stage == catcher.StageData && holding.Load() {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return nil
		})
		s.work(t)
		running(t, s.keeper(t, "host/1", s.keys, &log{}).Run)
		leaked := s.keys.Infos()[0].KID

		const used, unused = "used@example.org", "unused@example.org"
		s.register(t, used)
		s.register(t, unused)
		eventually(t, "both mails", func() bool { return s.sentAt(t, used) && s.sentAt(t, unused) })
		_, err := s.accounts.Operator("test").Activate(t.Context(), key(t, s.mailsTo(used)[0]))
		check(t, err)

		// Some tasks are at the mail server, the rest stands in the queue.
		holding.Store(true)
		all := people(50)
		registered := make(map[string]string)
		for _, address := range all {
			p, err := s.accounts.Register(t.Context(), accounts.Registration{Email: address, Password: password})
			check(t, err)
			registered[p.ID] = address
		}
		var waiting map[string]string
		eventually(t, "tasks wait in the queue, and nothing moves", func() bool {
			before := len(waiting)
			waiting = s.queued(t, registered)
			unfinished, _, err := s.db.OutboxDepth(t.Context())
			check(t, err)
			return len(waiting) >= 20 && len(waiting) == before && unfinished[jobs.RowQueued]+unfinished[jobs.RowClaimed] == 0
		})

		s.move(t, func(r *signing.Ring) (*signing.Ring, error) {
			return r.RevokeActive(leaked, signing.KID{}, time.Now())
		})
		close(release)

		all = append(all, unused)
		for _, address := range all {
			eventually(t, "the mail to "+address+" is recorded", func() bool { return s.sentAt(t, address) })
		}
		eventually(t, "no job is left", func() bool {
			unfinished, _, err := s.db.OutboxDepth(t.Context())
			check(t, err)
			left := int64(0)
			for _, n := range unfinished {
				left += n
			}
			return left == 0 && len(s.queued(t, registered)) == 0
		})

		// What stood in the queue under the leaked key had no effect: it is in quarantine, and was done under the new key, once.
		refused, err := s.db.QuarantineList(t.Context(), 1000)
		check(t, err)
		for id, address := range waiting {
			i := slices.IndexFunc(refused, func(r jobs.Refused) bool { return r.TaskID == id })
			if i < 0 {
				t.Errorf("%s is not in quarantine", id)
				continue
			}
			if r := refused[i]; r.Reason != signing.ReasonKeyNotValid || r.KID != leaked.String() || !strings.HasSuffix(id, ".1") {
				t.Errorf("%s: refused for %s under %s", id, r.Reason, r.KID)
			}
			if n := len(s.mailsTo(address)); n != 1 {
				t.Errorf("%s: want one mail, got %d", address, n)
			}
		}
		for _, r := range refused {
			if r.KID != leaked.String() {
				t.Errorf("a task of another key is refused: %+v", r)
			}
		}

		// What was used stays used; what was not is void, and came anew.
		if n := len(s.mailsTo(used)); n != 1 {
			t.Errorf("the link that was used: want the one mail, got %d", n)
		}
		if n := len(s.mailsTo(unused)); n != 2 {
			t.Errorf("the link that was not used: want a second mail, got %d in all", n)
		}
		for _, address := range all {
			s.onlyTheLastLinkIsGood(t, address)
		}
		if status, err := s.accounts.Show(t.Context(), used); err != nil || status.Status != accounts.StandingActive {
			t.Errorf("%s is %v, %v", used, status.Status, err)
		}
	})
}
