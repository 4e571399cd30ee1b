package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
)

// tick is what two readings of a clock may be off by: SQLite's clock counts milliseconds.
const tick = 2 * time.Millisecond

// errRollback is what a test's transaction fails with.
var errRollback = errors.New("rolled back by the test")

// noteArgs are the arguments of the suite's own kind.
type noteArgs struct {
	Note string `json:"note"`
}

// note makes a job of kind test:note: queue "mail", an hour of life, 3 retries.
func note(opts ...jobs.Option) jobs.Job {
	return jobs.Define[noteArgs]("test:note", jobs.Policy{Queue: "mail", MaxAge: time.Hour, Retries: 3}).With(noteArgs{Note: "hello"}, opts...)
}

// must ends the test where what it needed to go well did not.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want says what an error should have been.
func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error: want %v, got %v", target, err)
	}
}

func equal[T comparable](t testing.TB, what string, want, got T) {
	t.Helper()
	if want != got {
		t.Errorf("%s: want %v, got %v", what, want, got)
	}
}

// near holds got to an instant that lay between two readings of the database's clock.
func near(t testing.TB, what string, earliest, latest, got time.Time) {
	t.Helper()
	if got.Before(earliest.Add(-tick)) || got.After(latest.Add(tick)) {
		t.Errorf("%s: want between %v and %v, got %v", what, earliest, latest, got)
	}
}

// now is the database's clock.
func (s suite[Tx]) now() time.Time {
	s.Helper()
	book, err := s.DB.ScheduleBook(s.Context(), 0)
	must(s, err)
	return book.Now
}

// tx runs fn in a transaction that commits.
func (s suite[Tx]) tx(fn func(tx Tx) error) {
	s.Helper()
	must(s, s.DB.InTx(s.Context(), fn))
}

// enqueue records a job and returns its row's ID.
func (s suite[Tx]) enqueue(j jobs.Job) (id string) {
	s.Helper()
	s.tx(func(tx Tx) (err error) {
		id, err = s.DB.EnqueueTx(s.Context(), tx, j)
		return err
	})
	return id
}

// claim claims up to limit rows of the suite's own kind for a minute.
func (s suite[Tx]) claim(limit int, skip ...string) []jobs.ClaimedRow {
	s.Helper()
	return s.claimOf(limit, []jobs.Kind{"test:note"}, skip...)
}

// giveBack returns claimed rows to the outbox.
func (s suite[Tx]) giveBack(pause time.Duration, cause string, rows ...jobs.ClaimedRow) error {
	returned := make([]jobs.ReturnedRow, len(rows))
	for i, row := range rows {
		returned[i] = jobs.ReturnedRow{ClaimedRow: row, Pause: pause, Cause: cause}
	}
	return s.DB.ReturnRows(s.Context(), returned)
}

// claimOf claims up to limit rows of these kinds for a minute, but for those in queues to skip.
func (s suite[Tx]) claimOf(limit int, kinds []jobs.Kind, skip ...string) []jobs.ClaimedRow {
	s.Helper()
	rows, err := s.DB.ClaimRows(s.Context(), jobs.Claim{Kinds: kinds, SkipQueues: skip, Limit: limit, Lease: time.Minute})
	must(s, err)
	return rows
}

// claimed records a job and claims its row.
func (s suite[Tx]) claimed(j jobs.Job) jobs.ClaimedRow {
	s.Helper()
	id := s.enqueue(j)
	rows := s.claim(1)
	if len(rows) != 1 || rows[0].ID != id {
		s.Fatalf("claim row %s: got %v", id, ids(rows))
	}
	return rows[0]
}

// enqueued records a job, claims its row and marks it as enqueued.
func (s suite[Tx]) enqueued(j jobs.Job) jobs.ClaimedRow {
	s.Helper()
	row := s.claimed(j)
	must(s, s.DB.RowsEnqueued(s.Context(), []jobs.ClaimedRow{row}))
	s.wantState(row.ID, jobs.RowEnqueued)
	return row
}

// wantState holds an outbox row to its state.
func (s suite[Tx]) wantState(rowID string, state jobs.RowState) {
	s.Helper()
	got := s.scalar(fmt.Sprintf("SELECT state FROM outbox WHERE id = '%s'", rowID))
	equal(s, "state of row "+rowID, state, jobs.RowState(got))
}

// wantRows holds the outbox to a number of rows, whatever their state.
func (s suite[Tx]) wantRows(n int) {
	s.Helper()
	equal(s, "rows in the outbox", fmt.Sprint(n), s.scalar("SELECT count(*) FROM outbox"))
}

// in brings a fresh row into the state.
func (s suite[Tx]) in(state jobs.RowState, opts ...jobs.Option) jobs.ClaimedRow {
	s.Helper()
	ctx, row := s.Context(), jobs.ClaimedRow{}
	switch state {
	case jobs.RowQueued:
		row.ID, row.Attempt = s.enqueue(note(opts...)), 1
	case jobs.RowClaimed:
		row = s.claimed(note(opts...))
	case jobs.RowEnqueued:
		row = s.enqueued(note(opts...))
	case jobs.RowDone:
		row = s.enqueued(note(opts...))
		must(s, s.DB.RowDone(ctx, ref(row.ID, 1)))
	case jobs.RowRefused:
		row = s.claimed(note(opts...))
		must(s, s.DB.RefuseRow(ctx, row, "of the test"))
	case jobs.RowDead:
		row = s.enqueued(note(opts...))
		must(s, s.DB.RowDead(ctx, ref(row.ID, row.Attempt), "of the test"))
	case jobs.RowExpired:
		row = s.enqueued(note(opts...))
		s.backdate(2 * time.Hour)
		_, err := s.DB.ExpireRows(ctx, 0, 1000)
		must(s, err)
	}
	s.wantState(row.ID, state)
	return row
}

func ids(rows []jobs.ClaimedRow) []string {
	list := make([]string, len(rows))
	for i, row := range rows {
		list[i] = row.ID
	}
	return list
}

// newPending is a registration of an address for an hour. The address is given with a capital, which its norm lacks.
func newPending(address string) accounts.NewPending {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return accounts.NewPending{
		ID: uuid.Must(uuid.NewV7()).String(), Email: "A" + address, EmailNorm: "a" + address,
		PasswordHash: accounts.NewPasswordHash("hash of a" + address), Nonce: nonce, TTL: time.Hour,
	}
}

// save saves a registration.
func (s suite[Tx]) save(p accounts.NewPending) (saved accounts.SavedPending) {
	s.Helper()
	s.tx(func(tx Tx) (err error) {
		saved, err = s.DB.SavePending(s.Context(), tx, p)
		return err
	})
	return saved
}

// boundKID is the signing key that bind names.
const boundKID = "f7e2c87f"

// bind gives a registration the activation key of that text.
func (s suite[Tx]) bind(saved accounts.SavedPending, key string) {
	s.Helper()
	s.bindTo(boundKID, saved, key)
}

// bindTo binds an activation key that was derived from the signing key kid.
func (s suite[Tx]) bindTo(kid string, saved accounts.SavedPending, key string) {
	s.Helper()
	d := authjobs.MailDraft{PendingID: saved.ID, Generation: saved.Generation}
	must(s, s.DB.BindActivationKey(s.Context(), d, kid, accounts.KeyHash(key)))
}

// activate uses a key in a transaction of its own.
func (s suite[Tx]) activate(ctx context.Context, key string) (user accounts.User, err error) {
	err = s.DB.InTx(ctx, func(tx Tx) (err error) {
		user, err = s.DB.ActivatePending(ctx, tx, accounts.Activation{KeyHash: accounts.KeyHash(key)})
		return err
	})
	return user, err
}

// user makes an active user.
func (s suite[Tx]) user(p accounts.NewPending) accounts.User {
	s.Helper()
	s.bind(s.save(p), "key of "+p.ID)
	user, err := s.activate(s.Context(), "key of "+p.ID)
	must(s, err)
	return user
}

func (s suite[Tx]) state(emailNorm string) accounts.State {
	s.Helper()
	state, err := s.DB.AccountState(s.Context(), emailNorm)
	must(s, err)
	return state
}

// race runs fn n times at once and returns what each run ended with.
func race(n int, fn func(i int) error) []error {
	outcomes := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			outcomes[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return outcomes
}

// tally counts the outcomes that are nil and those that are target. Any other one ends the test.
func tally(t testing.TB, outcomes []error, target error) (succeeded, failed int) {
	t.Helper()
	for _, err := range outcomes {
		switch {
		case err == nil:
			succeeded++
		case errors.Is(err, target):
			failed++
		default:
			t.Errorf("a racer ended with %v", err)
		}
	}
	return succeeded, failed
}

// backdate lets time pass.
func (s suite[Tx]) backdate(d time.Duration) {
	s.Helper()
	s.Backdate(s, d)
}

// exec changes what no driver changes.
func (s suite[Tx]) exec(statement string) {
	s.Helper()
	s.Exec(s, statement)
}

// scalar reads what no driver tells.
func (s suite[Tx]) scalar(query string) string {
	s.Helper()
	return s.Scalar(s, query)
}

// ref names a row of the suite's own kind.
func ref(id string, attempt int) jobs.RowRef {
	return jobs.RowRef{ID: id, Kind: "test:note", Attempt: attempt}
}
