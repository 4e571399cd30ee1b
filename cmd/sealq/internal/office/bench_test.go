package office_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
)

// rowsEnv sets how many mails, outbox rows and suppressions there are, and a tenth as many ticks of each of ten schedules and refused
// tasks. Unset: a hundred thousand.
const rowsEnv = "SEALQ_BENCH_ROWS"

// fills are what makes the rows: %[1]s lists the numbers as n, %[2]d is how many. Every row is younger than the account that is asked for.
// A twentieth of the outbox is unfinished.
func fills(driver string) []string {
	if driver == "postgres" {
		const id = "lpad(to_hex(n + %[3]d), 12, '0')"
		const uuid = "(left(" + id + ", 8) || '-' || right(" + id + ", 4) || '-7000-8000-000000000000')::uuid"
		return []string{
			`INSERT INTO outbox (id, kind, queue, payload, headers, retries, state, not_before, next_at, expires_at, ended_at)
			 SELECT ` + uuid + `, 'mail:confirmation', 'mail', convert_to('{"pending_id":"' || gen_random_uuid() || '","generation":1}', 'UTF8'), '[]', 5,
			        CASE n % 20 WHEN 0 THEN 'queued' WHEN 1 THEN 'dead' ELSE 'done' END, now(), now(), now() + interval '1 day', CASE WHEN n % 20 > 0 THEN now() END
			 FROM generate_series(1, %[2]d) n`,
			`INSERT INTO mails (id, pending_id, generation, message_id, created_at, sent_at)
			 SELECT ` + uuid + `::text, gen_random_uuid(), 1, n || '@example.com', now() + n * interval '1 ms', CASE WHEN n % 20 > 1 THEN now() END FROM generate_series(1, %[2]d) n`,
			`INSERT INTO mail_attempts (mail, try, started_at, ended_at, server, stage, outcome, smtp_code, smtp_reply, cause)
			 SELECT id, 1, created_at, created_at, 'mx.example', 'data', 'delivered', 250, '2.0.0 queued', '' FROM mails`,
			`INSERT INTO suppressions (email_norm, reason, smtp_code, smtp_reply, mail, suppressed_at)
			 SELECT n || '@example.com', 'rejected', 550, '5.1.1 no', 'm', now() + n * interval '1 ms' FROM generate_series(1, %[2]d) n`,
			`INSERT INTO ticks (schedule, due_at, row_id, outcome, finished_at)
			 SELECT name, now() - n * interval '1 min', gen_random_uuid(), 'done', now() FROM schedules, generate_series(1, %[2]d / 10) n`,
			`INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at)
			 SELECT n::text, n::text || '.1', 'mail', 'k', '[]', 1, '', 0, sha256(''), 'bad_signature', '', '', false, '', 0, now() FROM generate_series(1, %[2]d / 10) n`,
			`ANALYZE`,
		}
	}
	const id = "printf('%%012x', n + %[3]d)"
	const uuid = "substr(" + id + ", 1, 8) || '-' || substr(" + id + ", 9) || '-7000-8000-000000000000'"
	const numbers = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %[2]d) "
	return []string{
		numbers + `INSERT INTO outbox (id, kind, queue, payload, headers, retries, state, not_before, next_at, expires_at, created_at, ended_at)
		 SELECT ` + uuid + `, 'mail:confirmation', 'mail', CAST('{"pending_id":"' || hex(randomblob(16)) || '","generation":1}' AS BLOB), '[]', 5,
		        CASE n %% 20 WHEN 0 THEN 'queued' WHEN 1 THEN 'dead' ELSE 'done' END, %[4]d, %[4]d, %[4]d + 86400000000, %[4]d, CASE WHEN n %% 20 > 0 THEN %[4]d END FROM s`,
		numbers + `INSERT INTO mails (id, pending_id, generation, message_id, created_at, sent_at)
		 SELECT ` + uuid + `, hex(randomblob(16)), 1, n || '@example.com', %[4]d + n * 1000, CASE WHEN n %% 20 > 1 THEN %[4]d END FROM s`,
		`INSERT INTO mail_attempts (mail, try, started_at, ended_at, server, stage, outcome, smtp_code, smtp_reply, cause)
		 SELECT id, 1, created_at, created_at, 'mx.example', 'data', 'delivered', 250, '2.0.0 queued', '' FROM mails`,
		numbers + `INSERT INTO suppressions (email_norm, reason, smtp_code, smtp_reply, mail, suppressed_at) SELECT n || '@example.com', 'rejected', 550, '5.1.1 no', 'm', %[4]d + n * 1000 FROM s`,
		numbers + `INSERT INTO ticks (schedule, due_at, row_id, made_at, outcome, finished_at)
		 SELECT name, %[4]d - n * 60000000, hex(randomblob(16)), %[4]d, 'done', %[4]d FROM schedules, s WHERE n <= %[2]d / 10`,
		numbers + `INSERT INTO quarantine (id, task_id, queue, kind, headers, max_retry, payload, size, payload_sha256, reason, kid, detail, authentic, row_id, attempt, received_at)
		 SELECT n, n || '.1', 'mail', 'k', '[]', 1, x'', 0, zeroblob(32), 'bad_signature', '', '', 0, '', 0, %[4]d FROM s WHERE n <= %[2]d / 10`,
	}
}

// BenchmarkPages measures the pages of schedules, accounts and mails, with the request and the reading of the answer, over many rows.
func BenchmarkPages(b *testing.B) {
	rows := 100_000
	if text := os.Getenv(rowsEnv); text != "" {
		n, err := strconv.Atoi(text)
		check(b, err)
		rows = n
	}
	for _, driver := range []string{"sqlite", "postgres"} {
		b.Run(driver, func(b *testing.B) {
			database := testserversURL(b, driver)
			w := openOn(b, database)
			pending, err := w.people.Register(b.Context(), accounts.Registration{Email: ada, Password: password})
			check(b, err)
			mails, err := w.db.MailsOf(b.Context(), pending.ID, 1)
			check(b, err)
			for i := range 10 {
				_, err := w.db.DefineSchedule(b.Context(), "cli:test", jobs.SchedulePlan{Name: fmt.Sprint("night-", i), Cron: "0 3 * * *", Kind: "users:expire_pending", Args: "{}", CatchUp: jobs.CatchUpLatest}, false)
				check(b, err)
			}
			now := time.Now()
			for _, fill := range fills(driver) {
				fillIn(b, driver, database, strings.NewReplacer("%%", "%", "%[2]d", fmt.Sprint(rows), "%[3]d", fmt.Sprint(now.UnixMilli()), "%[4]d", fmt.Sprint(now.UnixMicro())).Replace(fill))
			}
			who := w.as(operators.RoleOperator)
			for _, target := range []string{
				"/schedules", "/schedule?" + url.Values{"name": {"night-3"}}.Encode(), "/mails", "/mail?id=" + mails[0].Row.ID, "/suppressions", "/accounts?id=" + pending.ID,
			} {
				path, _, _ := strings.Cut(target, "?")
				b.Run(path[1:], func(b *testing.B) {
					var took []time.Duration
					who.page(target) // the first reads from disk
					for b.Loop() {
						began := time.Now()
						who.page(target)
						took = append(took, time.Since(began))
					}
					slices.Sort(took)
					b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/page")
					b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms/slowest")
				})
			}
		})
	}
}

func testserversURL(b *testing.B, driver string) string {
	b.Helper()
	if driver == "postgres" {
		return testservers.Postgres(b)
	}
	return "sqlite:" + filepath.Join(b.TempDir(), "sealq.db")
}

func fillIn(b *testing.B, driver, database, statement string) {
	b.Helper()
	if driver == "postgres" {
		conn, err := pgx.Connect(b.Context(), database)
		check(b, err)
		_, err = conn.Exec(b.Context(), statement)
		check(b, err)
		check(b, conn.Close(b.Context()))
		return
	}
	db, err := sql.Open("sqlite", strings.TrimPrefix(database, "sqlite:"))
	check(b, err)
	_, err = db.ExecContext(b.Context(), statement)
	check(b, err)
	check(b, db.Close())
}
