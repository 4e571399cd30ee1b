package quarantine_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/sqlite"
)

type weekly struct {
	Week string `json:"week"`
}

// An app releases and purges what its own workers refused, of its own kinds.
func Example() {
	ctx := context.Background()
	db, keys, end := deployment(ctx)
	defer end()
	report := jobs.Define[weekly]("reports:weekly", jobs.Policy{Queue: "reports"})
	catalog, err := jobs.NewCatalog(report)
	must(err)

	genuine := refusedTask(keys, "weekly@2026-01-04", true)
	forged := refusedTask(keys, "weekly@2026-01-11", false)
	must(db.Keep(ctx, genuine))
	must(db.Keep(ctx, forged))

	order := quarantine.Order{ID: genuine.ID, Actor: "admin:ada"}
	released, err := quarantine.Release[*sql.Tx](ctx, db, keys, catalog, order)
	must(err)
	fmt.Println(released.Kind, "goes to", released.Queue, "under a new ID:", released.ReleasedAs != genuine.TaskID)

	_, err = quarantine.Release[*sql.Tx](ctx, db, keys, catalog, order)
	fmt.Println("again:", errors.Is(err, quarantine.ErrReleased))
	_, err = quarantine.Release[*sql.Tx](ctx, db, keys, catalog, quarantine.Order{ID: forged.ID, Actor: "admin:ada"})
	fmt.Println("the forged one:", errors.Is(err, quarantine.ErrNotAuthentic))

	purged, err := quarantine.Purge[*sql.Tx](ctx, db, "admin:ada", quarantine.Filter{Reason: signing.ReasonMissingSignature})
	must(err)
	fmt.Println("purged:", purged.Entries)
	// Output:
	// reports:weekly goes to reports under a new ID: true
	// again: true
	// the forged one: true
	// purged: 1
}

// deployment is a database and keys.
func deployment(ctx context.Context) (*sqlite.DB, *signing.Keys, func()) {
	folder, err := os.MkdirTemp("", "sealq")
	must(err)
	db, err := sqlite.Open(ctx, filepath.Join(folder, "sealq.db"))
	must(err)
	_, err = db.Migrate(ctx)
	must(err)
	ring, err := signing.NewRing(time.Now(), 720*time.Hour)
	must(err)
	must(signing.NewFile(filepath.Join(folder, "keys.json")).Create(ring))
	keys, err := signing.Open(ctx, "file:"+filepath.Join(folder, "keys.json"), "example")
	must(err)
	return db, keys, func() { //nolint:contextcheck // what is closed waits for nobody
		keys.Close()
		must(errors.Join(db.Close(), os.RemoveAll(folder)))
	}
}

// refusedTask is what a worker keeps of a task that it refused.
func refusedTask(keys *signing.Keys, id string, signed bool) jobs.Refused {
	task := signing.Task{Kind: "reports:weekly", ID: id, Queue: "old-reports", MaxRetry: 110, Payload: []byte(`{"week":"2026-W01"}`)}
	headers, reason := map[string]string{}, signing.ReasonMissingSignature
	if signed {
		sig, _, err := keys.Sign(task, signing.Validity{Expires: time.Now().Add(time.Hour)})
		must(err)
		headers[signing.SignatureHeader], reason = sig, signing.ReasonWrongQueue
	}
	return jobs.Refused{
		ID: id, TaskID: task.ID, Queue: task.Queue, Kind: task.Kind, Headers: headers, MaxRetry: task.MaxRetry, Payload: task.Payload,
		Size: int64(len(task.Payload)), PayloadSHA256: sha256.Sum256(task.Payload), Reason: reason, Authentic: signed, ReceivedAt: time.Now(),
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
