package authjobs_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// The goldens are what lies in outboxes and queues: a new release must read what an old one wrote.
func TestPayloadsAreThoseOfVersion1(t *testing.T) {
	t.Parallel()
	confirmation := authjobs.Confirmation{PendingID: "0198c0de-0000-7000-8000-000000000001", Generation: math.MaxUint64}
	account := authjobs.AccountMail{UserID: "0198c0de-0000-7000-8000-000000000002", Generation: math.MaxUint64}
	tests := map[string]struct {
		def jobs.Definition
		job jobs.Job
	}{
		"mail_confirmation":     {authjobs.MailConfirmation(), authjobs.MailConfirmation().With(confirmation)},
		"mail_account_exists":   {authjobs.MailAccountExists(), authjobs.MailAccountExists().With(account)},
		"mail_password_reset":   {authjobs.MailPasswordReset(), authjobs.MailPasswordReset().With(account)},
		"mail_password_changed": {authjobs.MailPasswordChanged(), authjobs.MailPasswordChanged().With(account)},
		"mail_email_change":     {authjobs.MailEmailChange(), authjobs.MailEmailChange().With(account)},
		"mail_lockout_notice":   {authjobs.MailLockoutNotice(), authjobs.MailLockoutNotice().With(account)},
		"users_answer":          {authjobs.Answer(), authjobs.Answer().With(authjobs.Request{RequestID: "0198c0de-0000-7000-8000-000000000003"})},
		"users_expire_pending":  {authjobs.ExpirePending(), authjobs.ExpirePending().With(authjobs.Sweep{Tick: "users:expire_pending@2026-01-01T00:05:00Z", Limit: 1000})},
		"retention_purge":       {authjobs.Purge(), authjobs.Purge().With(authjobs.Tick{Tick: "retention:purge@2026-01-01T03:00:00Z"})},
		"lockouts_reset":        {authjobs.ResetLockouts(), authjobs.ResetLockouts().With(authjobs.Sweep{})},
	}
	goldens, err := filepath.Glob("testdata/v1/*.json")
	if err != nil || len(goldens) != len(tests) {
		t.Errorf("there are %d goldens for %d kinds: %v", len(goldens), len(tests), err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden, err := os.ReadFile(filepath.Join("testdata", "v1", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			golden = bytes.TrimSuffix(golden, []byte("\n"))
			if diff := cmp.Diff(string(golden), string(test.job.Payload())); diff != "" {
				t.Error(diff)
			}
			parsed, err := test.def.Parse(golden)
			if err != nil || !bytes.Equal(parsed.Payload(), golden) {
				t.Errorf("the golden parses to %s: %v", parsed.Payload(), err)
			}
			if want := strings.ReplaceAll(string(test.def.Kind()), ":", "_"); want != name {
				t.Errorf("the golden of %s should be %s", test.def.Kind(), want)
			}
		})
	}
}

func TestDefinitions(t *testing.T) {
	t.Parallel()
	catalog, err := jobs.NewCatalog(authjobs.Definitions()...)
	if err != nil {
		t.Fatal(err)
	}
	want := map[jobs.Kind]jobs.Policy{
		"mail:confirmation":     {Queue: "mail", MaxAge: 24 * time.Hour, Retries: 12, Timeout: 15 * time.Minute},
		"mail:account_exists":   {Queue: "mail", MaxAge: 24 * time.Hour, Retries: 12, Timeout: 15 * time.Minute},
		"mail:password_reset":   {Queue: "mail", MaxAge: 24 * time.Hour, Retries: 12, Timeout: 15 * time.Minute},
		"mail:password_changed": {Queue: "mail", MaxAge: 24 * time.Hour, Retries: 12, Timeout: 15 * time.Minute},
		"mail:email_change":     {Queue: "mail", MaxAge: 24 * time.Hour, Retries: 12, Timeout: 15 * time.Minute},
		"mail:lockout_notice":   {Queue: "mail", MaxAge: 24 * time.Hour, Retries: 12, Timeout: 15 * time.Minute},
		"users:answer":          {Queue: "mail", MaxAge: 24 * time.Hour, Retries: 12, Timeout: time.Minute},
		"users:expire_pending":  {Queue: "maintenance", MaxAge: time.Hour, Retries: 3, Timeout: 5 * time.Minute},
		"retention:purge":       {Queue: "maintenance", MaxAge: 6 * time.Hour, Retries: 3, Timeout: 5 * time.Minute},
		"lockouts:reset":        {Queue: "critical", MaxAge: time.Hour, Retries: 3, Timeout: 5 * time.Minute},
	}
	got := make(map[jobs.Kind]jobs.Policy)
	for _, kind := range catalog.Kinds() {
		d, err := catalog.Lookup(kind)
		if err != nil {
			t.Fatal(err)
		}
		p := d.Policy()
		p.Backoff = nil
		got[kind] = p
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// records is an outbox that keeps what it is given.
type records struct {
	tx   []string
	jobs []jobs.Job
	err  error
}

func (r *records) EnqueueTx(_ context.Context, tx string, j jobs.Job) (string, error) {
	r.tx, r.jobs = append(r.tx, tx), append(r.jobs, j)
	return "row", r.err
}

var _ jobs.Outbox[string] = (*records)(nil)

func TestConfirmationWantedIsRecordedInTheTransaction(t *testing.T) {
	t.Parallel()
	outbox := &records{}
	now := time.Now()
	expires := now.Add(48 * time.Hour)
	if err := authjobs.NewNotifier(outbox).ConfirmationWanted(t.Context(), "tx", "pending", 3, expires); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"tx"}, outbox.tx); diff != "" {
		t.Fatal(diff)
	}
	got, err := outbox.jobs[0].Row(now)
	if err != nil {
		t.Fatal(err)
	}
	want := jobs.Row{
		ID: got.ID, Kind: "mail:confirmation", Queue: "mail", Payload: []byte(`{"pending_id":"pending","generation":3}`), Retries: 12,
		ExpiresAt: expires, Life: 24 * time.Hour, // a mail past the registration's end would be of no use
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfirmationWantedPassesTheOutboxsErrorOn(t *testing.T) {
	t.Parallel()
	outbox := &records{err: errors.New("the transaction is over")}
	err := authjobs.NewNotifier(outbox).ConfirmationWanted(t.Context(), "tx", "pending", 3, time.Now().Add(time.Hour))
	if !errors.Is(err, outbox.err) || !strings.Contains(err.Error(), "record confirmation mail") {
		t.Errorf("got %v", err)
	}
}

func TestMailsToOwnersAreRecordedInTheTransaction(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, def := range authjobs.AccountMails() {
		outbox := &records{}
		expires := now.Add(time.Hour)
		err := authjobs.NewNotifier(outbox).AccountMailWanted(t.Context(), "tx", authjobs.MailName(def.Kind()), "user", 3, expires)
		if err != nil {
			t.Fatal(err)
		}
		got, err := outbox.jobs[0].Row(now)
		if err != nil {
			t.Fatal(err)
		}
		want := jobs.Row{
			ID: got.ID, Kind: def.Kind(), Queue: "mail", Payload: []byte(`{"user_id":"user","generation":3}`), Retries: 12,
			ExpiresAt: expires, Life: 24 * time.Hour, // a mail past its link's end would be of no use
		}
		if diff := cmp.Diff(want, got); diff != "" || outbox.tx[0] != "tx" {
			t.Error(diff, outbox.tx)
		}
		outbox.err = errors.New("the transaction is over")
		if err := authjobs.NewNotifier(outbox).AccountMailWanted(t.Context(), "tx", authjobs.MailName(def.Kind()), "user", 3, expires); !errors.Is(err, outbox.err) {
			t.Errorf("got %v", err)
		}
	}
}

func TestARequestIsRecordedInTheTransactionWithoutItsAddress(t *testing.T) {
	t.Parallel()
	now := time.Now()
	outbox := &records{}
	n := authjobs.NewNotifier(outbox)
	expires := now.Add(time.Hour)
	if err := n.RequestWanted(t.Context(), "tx", "request", expires); err != nil {
		t.Fatal(err)
	}
	got, err := outbox.jobs[0].Row(now)
	if err != nil {
		t.Fatal(err)
	}
	want := jobs.Row{
		ID: got.ID, Kind: "users:answer", Queue: "mail", Payload: []byte(`{"request_id":"request"}`), Retries: 12, ExpiresAt: expires, Life: 24 * time.Hour,
	}
	if diff := cmp.Diff(want, got); diff != "" || outbox.tx[0] != "tx" {
		t.Error(diff, outbox.tx)
	}
	outbox.err = errors.New("the transaction is over")
	if err := n.RequestWanted(t.Context(), "tx", "request", expires); !errors.Is(err, outbox.err) {
		t.Errorf("got %v", err)
	}
}

func TestAMailThatNoKindSendsIsRefused(t *testing.T) {
	t.Parallel()
	for _, mail := range []string{"", "confirmation", "mail:password_reset", "nothing"} {
		outbox := &records{}
		err := authjobs.NewNotifier(outbox).AccountMailWanted(t.Context(), "tx", mail, "user", 3, time.Now().Add(time.Hour))
		if !errors.Is(err, authjobs.ErrUnknownMail) || len(outbox.jobs) > 0 {
			t.Errorf("%q: got %v", mail, err)
		}
	}
}

func TestLeasedErrorTellsUntilWhen(t *testing.T) {
	t.Parallel()
	err := error(&authjobs.LeasedError{Until: time.Date(2026, 1, 1, 0, 5, 0, 0, time.UTC)})
	if want := "another run is sending the mail, its lease ends at 2026-01-01T00:05:00Z"; err.Error() != want {
		t.Errorf("got %q", err)
	}
}
