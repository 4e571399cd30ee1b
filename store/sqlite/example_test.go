package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/sqlite"
)

// An order and the job that it causes exist together or not at all.
func ExampleDB_EnqueueTx() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "sealq-example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(folder) }()
	db, err := sqlite.Open(ctx, filepath.Join(folder, "sealq.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Migrate(ctx); err != nil {
		fmt.Println(err)
		return
	}

	type invoice struct {
		Order int `json:"order"`
	}
	invoices := jobs.Define[invoice]("orders:invoice", jobs.Policy{MaxAge: time.Hour})
	err = db.InTx(ctx, func(tx *sql.Tx) error {
		// Write the order through tx here.
		_, err := db.EnqueueTx(ctx, tx, invoices.With(invoice{Order: 17}))
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	unfinished, _, err := db.OutboxDepth(ctx)
	fmt.Println("waiting:", unfinished[jobs.RowQueued], err)
	// Output:
	// waiting: 1 <nil>
}
