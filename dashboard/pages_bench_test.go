package dashboard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
)

// A refused task each 100 ms, of 13 reasons in 7 queues of 5 kinds; one in a hundred was signed. And a change each 100 ms, by one of 50 operators.
const (
	crowdSQLite = `INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at, charged)
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
		SELECT 'id-' || i, 'task-' || i, 'queue' || (i % 7), 'test:kind' || (i % 5), '[]', 25, randomblob(100), 100, zeroblob(32),
		       CASE WHEN i % 100 = 0 THEN 'expired' WHEN i % 12 = 3 THEN 'bad_signature' ELSE 'reason' || (i % 12) END, '0011aabb', 'it does not verify', i % 100 = 0, '', 0, unixepoch() * 1000000 - i * 100000, 612 FROM n`
	changesSQLite = `INSERT INTO audit_log (at, actor, action, subject, detail)
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
		SELECT unixepoch() * 1000000 + i * 100000, 'operator:ann' || (i % 50), 'task.run', 'task/mail/' || i, '{"kind":"test:note","n":"1"}' FROM n`
	crowdPostgres = `INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at, charged)
		SELECT 'id-' || i, 'task-' || i, 'queue' || (i % 7), 'test:kind' || (i % 5), '[]', 25, decode(repeat(md5(i::text), 6), 'hex'), 96, decode(repeat('00', 32), 'hex'),
		       CASE WHEN i % 100 = 0 THEN 'expired' WHEN i % 12 = 3 THEN 'bad_signature' ELSE 'reason' || (i % 12) END, '0011aabb', 'it does not verify', i % 100 = 0, '', 0, now() - i * interval '100 ms', 612
		FROM generate_series(1, 100000) i`
	changesPostgres = `INSERT INTO audit_log (at, actor, action, subject, detail)
		SELECT now() + i * interval '100 ms', 'operator:ann' || (i % 50), 'task.run', 'task/mail/' || i, '{"kind":"test:note","n":"1"}' FROM generate_series(1, 100000) i`
)

// store is what the pages, and the operators who come to them, need of a database.
type store interface {
	operators.Store
	dashboard.Records
	ChainAudit(ctx context.Context, limit int) (int, error)
}

// ofPostgres gives the dashboard its transactions.
type ofPostgres struct{ *postgres.DB }

func (r ofPostgres) Record(ctx context.Context, e audit.Entry) error {
	return r.InTx(ctx, func(tx pgx.Tx) error { return r.AppendAudit(ctx, tx, e) })
}

// BenchmarkPages is the server's time for a page with 100,000 refused tasks and an audit log of 100,000 links: at most 100 ms.
func BenchmarkPages(b *testing.B) {
	for name, open := range map[string]func(b *testing.B) store{
		"PostgreSQL": func(b *testing.B) store {
			b.Helper()
			url := testservers.Postgres(b)
			db, err := postgres.Open(b.Context(), url)
			check(b, err)
			b.Cleanup(func() { _ = db.Close() })
			_, err = db.Migrate(b.Context())
			check(b, err)
			for _, statement := range []string{crowdPostgres, changesPostgres} {
				check(b, db.InTx(b.Context(), func(tx pgx.Tx) error { _, err := tx.Exec(b.Context(), statement); return err }))
			}
			conn, err := pgx.Connect(b.Context(), url)
			check(b, err)
			_, err = conn.Exec(b.Context(), "VACUUM ANALYZE") // as autovacuum does after so many rows
			check(b, errors.Join(err, conn.Close(b.Context())))
			return ofPostgres{db}
		},
		"SQLite": func(b *testing.B) store {
			b.Helper()
			db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "sealq.db"))
			check(b, err)
			b.Cleanup(func() { _ = db.Close() })
			_, err = db.Migrate(b.Context())
			check(b, err)
			for _, statement := range []string{crowdSQLite, changesSQLite} {
				check(b, db.InTx(b.Context(), func(tx *sql.Tx) error { _, err := tx.ExecContext(b.Context(), statement); return err }))
			}
			return records{db}
		},
	} {
		b.Run(name, func(b *testing.B) { benchmarkPages(b, open(b)) })
	}
}

func benchmarkPages(b *testing.B, db store) {
	b.Helper()
	for {
		n, err := db.ChainAudit(b.Context(), 10_000)
		check(b, err)
		if n == 0 {
			break
		}
	}
	ops, err := operators.New(db, operators.Config{Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, Issuer: "test"})
	check(b, err)
	check(b, ops.Add(b.Context(), "cli:test", "ann", password, operators.RoleOperator))
	token, _, err := ops.Login(b.Context(), "ann", password, operators.From{})
	check(b, err)
	session, err := ops.Session(b.Context(), token, true)
	check(b, err)
	key, err := ops.NewKey(b.Context(), session, "bench", operators.RoleOperator, time.Hour)
	check(b, err)
	client := testservers.Redis(b).Client(b)
	d, err := dashboard.New(dashboard.Config{
		Operators: ops, Redis: client, Inspector: asynq.NewInspectorFromRedisClient(client), Records: db, Queues: []string{"mail"},
		Ring: func(context.Context) (dashboard.Ring, error) { return aRing(true), nil },
	})
	check(b, err)
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	b.Cleanup(func() { stop(); check(b, <-ended) })
	far := url.QueryEscape(fmt.Sprintf("%d.id-90000", time.Now().Add(-9000*time.Second).UnixMicro()))
	for _, c := range []struct{ name, target, form string }{
		{"now", "/", ""},
		{"quarantine", "/quarantine", ""},
		{"quarantine, far behind", "/quarantine?before=" + far, ""},
		{"quarantine by reason", "/quarantine?reason=bad_signature", ""},
		{"quarantine that may be released", "/quarantine?signed=yes", ""},
		{"quarantine of what is not there", "/quarantine?queue=none&kind=none", ""},
		{"quarantine of what is not there to be released", "/quarantine?signed=yes&kind=none", ""},
		{"entry", "/quarantine/entry?id=id-5", ""},
		{"purge, asked", "/quarantine", "do=purge&reason=bad_signature"},
		{"purge by kind, asked", "/quarantine", "do=purge&kind=test%3Akind1"},
		{"release of a filter, asked", "/quarantine", "do=release-all&reason=expired"},
		{"requests", "/requests", ""},
		{"keys", "/keys", ""},
		{"audit", "/audit", ""},
		{"audit by actor", "/audit?actor=operator:ann7", ""},
		{"audit of nobody", "/audit?actor=nobody", ""},
		{"audit about one", "/audit?subject=task/mail/50000", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			var slowest time.Duration
			for b.Loop() {
				method := http.MethodGet
				if c.form != "" {
					method = http.MethodPost
				}
				r := httptest.NewRequestWithContext(b.Context(), method, c.target, strings.NewReader(c.form))
				r.Header.Set("Authorization", "Bearer "+key)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				w := httptest.NewRecorder()
				begun := time.Now()
				d.ServeHTTP(w, r)
				slowest = max(slowest, time.Since(begun))
				if w.Code != http.StatusOK {
					b.Fatalf("answered %d: %.300s", w.Code, w.Body.String())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/page")
			b.ReportMetric(float64(slowest.Microseconds())/1000, "ms/slowest")
		})
	}
}
