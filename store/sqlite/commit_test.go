package sqlite_test

import (
	"database/sql"
	"testing"

	"github.com/sealq/sealq/store/sqlite"
)

// BenchmarkCommit measures what a durable commit costs, one after the other and with 16 goroutines at once. A sync of
// the disk dominates: compare with PRAGMA synchronous = NORMAL before blaming Go.
func BenchmarkCommit(b *testing.B) {
	record := func(b *testing.B, db *sqlite.DB) {
		b.Helper()
		if err := db.InTx(b.Context(), func(tx *sql.Tx) error {
			_, err := db.EnqueueTx(b.Context(), tx, greet())
			return err
		}); err != nil {
			b.Error(err)
		}
	}
	b.Run("one", func(b *testing.B) {
		db, _ := migrated(b)
		for b.Loop() {
			record(b, db)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		db, _ := migrated(b)
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				record(b, db)
			}
		})
	})
}
