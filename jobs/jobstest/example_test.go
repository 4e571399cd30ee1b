package jobstest_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/jobstest"
	"github.com/sealq/sealq/worker"
)

// An app declares its kinds once …

type WelcomeArgs struct {
	UserID int64 `json:"user_id"`
}

func Welcome() jobs.Def[WelcomeArgs] {
	return jobs.Define[WelcomeArgs]("mail:welcome", jobs.Policy{Queue: jobs.QueueMail})
}

// … enqueues them in its transactions …

type Signups struct{ Outbox jobs.Outbox[*sql.Tx] }

func (s Signups) SignUp(ctx context.Context, tx *sql.Tx, userID int64) error {
	// Write the user through tx here.
	_, err := s.Outbox.EnqueueTx(ctx, tx, Welcome().With(WelcomeArgs{UserID: userID}, jobs.In(time.Hour)))
	return err
}

// … and handles them.

func NewHandlers(o worker.Outbox, welcome func(userID int64) error) *worker.Handlers {
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: o})
	worker.Handle(h, Welcome(), func(_ context.Context, j worker.Job[WelcomeArgs]) error { return welcome(j.Args.UserID) })
	return h
}

// A test of the app: the sign-up records the job, and the job does what it should.
func Example() {
	test(func(t *exampleTest) { // func TestSignUp(t *testing.T) in an app
		var outbox jobstest.Outbox[*sql.Tx]
		signups := Signups{Outbox: &outbox}
		if err := signups.SignUp(t.Context(), nil, 7); err != nil { // a test with a database passes a transaction
			t.Fatal(err)
		}

		job := jobstest.RequireEnqueued(t, &outbox, Welcome(), WelcomeArgs{UserID: 7})[0]
		fmt.Println("enqueued:", job.Args.UserID, "in queue", job.Queue)

		catalog, err := jobs.NewCatalog(Welcome())
		if err != nil {
			t.Fatal(err)
		}
		handlers := NewHandlers(&outbox, func(userID int64) error { fmt.Println("welcome,", userID); return nil })
		w := jobstest.NewWorker(t, catalog, handlers, jobstest.Config{})

		fmt.Println("ended:", w.WorkRow(t, job.Row)) // an hour later, by the worker's clock
		fmt.Println("the row is", jobstest.RequireOneEnqueued(t, &outbox, Welcome()).State)
	})
	// Output:
	// enqueued: 7 in queue mail
	// welcome, 7
	// ended: done
	// the row is done
}

// test runs a test: an example gets none from go test.
func test(run func(t *exampleTest)) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &exampleTest{ctx: ctx}
	run(t)
	cancel()
	for _, cleanup := range slices.Backward(t.cleanups) {
		cleanup()
	}
}

type exampleTest struct {
	testing.TB
	ctx      context.Context //nolint:containedctx // as a test's is
	cleanups []func()
}

func (*exampleTest) Helper()                      {}
func (t *exampleTest) Context() context.Context   { return t.ctx }
func (t *exampleTest) Cleanup(fn func())          { t.cleanups = append(t.cleanups, fn) }
func (*exampleTest) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (*exampleTest) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
