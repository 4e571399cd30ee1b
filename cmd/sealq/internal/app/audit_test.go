package app_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/store/sqlite"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) contain(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

func TestTheLinkerLinksWhatIsWrittenAndLogsTheHead(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "sealq.db"))
	check(t, err)
	defer func() { check(t, db.Close()) }()
	var log lines
	linker, err := app.NewAuditLinker(db, app.AuditLinkerConfig{
		Every: 5 * time.Millisecond, HeadEvery: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- linker.Run(ctx) }()

	eventually(t, "trouble is told", func() bool { return log.contain("audit log not linked") })
	_, err = db.Migrate(t.Context())
	check(t, err)
	eventually(t, "its end is told", func() bool { return log.contain("audit log linked again") })
	write := func() {
		t.Helper()
		check(t, db.InTx(t.Context(), func(tx *sql.Tx) error {
			return db.AppendAudit(t.Context(), tx, audit.Entry{Actor: "cli:alice", Action: "test"})
		}))
	}
	write()
	var head audit.Head
	eventually(t, "the entry is linked", func() bool {
		head, err = db.AuditHead(t.Context())
		check(t, err)
		return head.Position == 1
	})
	eventually(t, "the head is logged", func() bool { return log.contain(head.String()) })
	write()
	stop()
	check(t, <-ended)
	head, err = audit.Verify(t.Context(), db, head)
	check(t, err)
	if head.Position != 2 || !log.contain(head.String()) {
		t.Errorf("what was written last is not linked and logged at the end: %s in %s", head, log.text.String())
	}
}
