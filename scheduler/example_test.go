package scheduler_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/signing"
)

// exampleKeys are of a ring that lasts as long as the example.
func exampleKeys(ctx context.Context) (*signing.Keys, error) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ring, err := signing.NewRing(time.Now(), 720*time.Hour)
	if err != nil {
		return nil, err
	}
	source := signing.NewFile(filepath.Join(dir, "keys.json"))
	if err := source.Create(ring); err != nil {
		return nil, err
	}
	return signing.OpenWith(ctx, source, "example", signing.Options{})
}

// In spring 02:30 is left out in Berlin, and in autumn it comes twice.
func ExampleParse() {
	table, err := scheduler.Parse("30 2 * * *", "Europe/Berlin")
	if err != nil {
		panic(err)
	}
	for _, day := range []int{28, 29} {
		due := table.Next(time.Time{}, time.Date(2026, time.March, day, 12, 0, 0, 0, time.UTC))
		fmt.Println(due.Format(time.RFC3339))
	}
	_, err = scheduler.Parse("30 2 31 2 *", "")
	fmt.Println(err)
	// Output:
	// 2026-03-29T01:00:00Z
	// 2026-03-30T00:30:00Z
	// cron expression "30 2 31 2 *": field 3 (day of month) "31": its date never comes: no month 2 has such a day
}
