package authjobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// The notifier goes to package accounts, which calls it in the transaction that registers a user. Here the
// outbox keeps the job in memory; store/postgres and store/sqlite have real ones.
func ExampleNotifier() {
	outbox := &records{}
	notifier := authjobs.NewNotifier(outbox)

	ends := time.Now().Add(24 * time.Hour)
	if err := notifier.ConfirmationWanted(context.Background(), "the caller's transaction", "0198c0de", 1, ends); err != nil {
		fmt.Println(err)
		return
	}
	job := outbox.jobs[0]
	fmt.Println(job.Kind(), string(job.Payload()))
	// Output: mail:confirmation {"pending_id":"0198c0de","generation":1}
}
