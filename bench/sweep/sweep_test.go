package sweep_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/store/postgres"
)

const (
	// rowsEnv sets how many rows the tables have. Unset: ten million.
	rowsEnv = "SEALQ_BENCH_ROWS"
	// layoutEnv is where the rows that are due lie: "by age", as they were made one after the other; "scattered", as never happens: each in
	// another page than the one that is due next. Unset: by age.
	layoutEnv = "SEALQ_BENCH_LAYOUT"
)

const (
	quiet   = 20 * time.Second // how long the load is measured without a sweep
	empties = 5                // sweeps after the first that finds nothing
	hash    = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
)

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func size(b *testing.B) int {
	b.Helper()
	text := os.Getenv(rowsEnv)
	if text == "" {
		return 10_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 10_000 {
		b.Fatalf("%s is %q: set it to a number of rows, 10000 or more", rowsEnv, text)
	}
	return n
}

func byAge(b *testing.B) bool {
	b.Helper()
	switch text := os.Getenv(layoutEnv); text {
	case "", "by age":
		return true
	case "scattered":
		return false
	default:
		b.Fatalf("%s is %q: set it to by age or scattered", layoutEnv, text)
		return false
	}
}

// world is one database, and who uses it: as two processes would, the load and the sweeper have a pool each.
type world struct {
	*testing.B
	rows    int
	byAge   bool
	raw     *pgxpool.Pool
	app, db *postgres.DB
}

func open(b *testing.B) world {
	b.Helper()
	server := testservers.PostgresServer(b, "fsync=on", "full_page_writes=on", "shared_buffers=1GB", "max_wal_size=2GB", "maintenance_work_mem=512MB")
	w := world{B: b, rows: size(b), byAge: byAge(b)}
	var err error
	w.raw, err = pgxpool.New(b.Context(), server.URL())
	must(b, err)
	b.Cleanup(w.raw.Close)
	for _, db := range []**postgres.DB{&w.app, &w.db} {
		*db, err = postgres.Open(b.Context(), server.URL())
		must(b, err)
		b.Cleanup(func() { _ = (*db).Close() })
	}
	_, err = w.db.Migrate(b.Context())
	must(b, err)
	return w
}

func (w world) exec(sql string, args ...any) {
	w.Helper()
	if _, err := w.raw.Exec(w.Context(), sql, args...); err != nil {
		w.Fatalf("%.80s: %v", sql, err)
	}
}

// insert runs an INSERT … SELECT of generate_series($1, $2) for that many rows, a million at a time.
func (w world) insert(sql string, first, n int) {
	w.Helper()
	const chunk = 1_000_000
	for at := first; at < first+n; at += chunk {
		w.exec(sql, at, min(at+chunk, first+n)-1)
	}
}

func (w world) settle(tables string) {
	w.Helper()
	w.exec("VACUUM (ANALYZE) " + tables)
	w.exec("CHECKPOINT")
}

func (w world) vacuums(table string) (n int) {
	w.Helper()
	must(w.B, w.raw.QueryRow(w.Context(), `SELECT vacuum_count + autovacuum_count FROM pg_stat_user_tables WHERE relname = $1`, table).Scan(&n))
	return n
}

// line is one way to sweep.
type line struct {
	name         string
	took         time.Duration
	rows         int
	load         latencies
	first, later time.Duration // of sweeps that find nothing
	vacuumed     int           // before the first of them
}

// ours sweeps as the jobs do.
func (w world) ours(name string, table string, steps []sweep.Step, l *load) line {
	w.Helper()
	out, vacuums := line{name: name}, w.vacuums(table)
	once := func(ctx context.Context) (int, time.Duration, error) {
		runner, err := sweep.NewRunner(w.db, w.db, sweep.Config{Budget: time.Hour})
		if err != nil {
			return 0, 0, err
		}
		begun := time.Now()
		o, err := runner.Run(ctx, sweep.Order{Sweep: table, Tick: strconv.FormatInt(begun.UnixNano(), 10), Steps: steps})
		return o.Rows, time.Since(begun), err
	}
	var err error
	out.load, err = l.during(w.Context(), func(ctx context.Context) (err error) {
		out.rows, out.took, err = once(ctx)
		return err
	})
	must(w.B, err)
	out.vacuumed = w.vacuums(table) - vacuums
	var later []time.Duration
	for i := range empties + 1 {
		rows, took, err := once(w.Context())
		must(w.B, err)
		if rows > 0 {
			w.Errorf("sweep %d after %s still found %d rows", i+1, name, rows)
		}
		if i == 0 {
			out.first = took
		} else {
			later = append(later, took)
		}
	}
	slices.Sort(later)
	out.later = later[len(later)/2]
	return out
}

// naive is one statement.
func (w world) naive(name, table, sql string, l *load) line {
	w.Helper()
	out, vacuums := line{name: name}, w.vacuums(table)
	once := func(ctx context.Context) (int, time.Duration, error) {
		begun := time.Now()
		tag, err := w.raw.Exec(ctx, sql)
		return int(tag.RowsAffected()), time.Since(begun), err
	}
	var err error
	out.load, err = l.during(w.Context(), func(ctx context.Context) (err error) {
		out.rows, out.took, err = once(ctx)
		return err
	})
	must(w.B, err)
	out.vacuumed = w.vacuums(table) - vacuums
	_, out.first, err = once(w.Context())
	must(w.B, err)
	_, out.later, err = once(w.Context())
	must(w.B, err)
	return out
}

func (w world) without(l *load) line {
	w.Helper()
	latencies, err := l.during(w.Context(), func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quiet):
			return nil
		}
	})
	must(w.B, err)
	return line{name: "no sweep", load: latencies}
}

func show(title string, lines ...line) {
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 1, ' ', 0)
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
	fmt.Fprintf(out, "\n%s\n\n", title)
	fmt.Fprintln(out, "|\t| total\t| rows\t| median\t| p99\t| p99 ÷ no sweep\t| max\t| first empty sweep\t| later ones\t| vacuums before it\t|")
	fmt.Fprintln(out, "|-|-|-|-|-|-|-|-|-|-|")
	for _, l := range lines {
		fmt.Fprintf(out, "| %s\t| %.1f s\t| %d\t| %s\t| %s\t| %.1f\t| %s\t| %s\t| %s\t| %d\t|\n", l.name, l.took.Seconds(), l.rows, ms(l.load.median), ms(l.load.p99),
			float64(l.load.p99)/float64(lines[0].load.p99), ms(l.load.max), ms(l.first), ms(l.later), l.vacuumed)
	}
	_ = out.Flush()
}

// BenchmarkSweep prints both tables.
func BenchmarkSweep(b *testing.B) {
	w := open(b)
	w.registrations()
	w.exec("TRUNCATE pending_users, users CASCADE")
	w.lockouts()
}

// registrationsSQL takes which rows n are due and for how many seconds.
const registrationsSQL = `
INSERT INTO pending_users (id, email_norm, email, password_hash, nonce, generation, expires_at, kid, key_hash, sent_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'user' || lpad(n::text, 9, '0') || '@example.org', 'user' || lpad(n::text, 9, '0') || '@example.org', '` + hash + `',
       '0123456789abcdef', 1, CASE WHEN %s THEN statement_timestamp() - %s * interval '1 s' ELSE statement_timestamp() + interval '1 day' + (n %% 86400) * interval '1 s' END,
       'f7e2c87f', sha256(n::text::bytea), statement_timestamp()
FROM generate_series($1::int, $2::int) n`

func (w world) registrations() {
	w.Helper()
	due := w.rows / 10
	for _, sql := range []string{"ALTER TABLE pending_users DROP CONSTRAINT pending_users_key_hash_key", "DROP INDEX pending_users_kid"} {
		w.exec(sql) // built at the end, which takes a fraction of the time
	}
	which, age := fmt.Sprintf("n <= %d OR n > %d", due, w.rows), fmt.Sprintf("86400::float8 * ((%d - n) %% %d) / %d", w.rows+due, due, due)
	if !w.byAge {
		which, age = fmt.Sprintf("n %% 10 = 0 OR n > %d", w.rows), "(n % 86400)"
	}
	fill := fmt.Sprintf(registrationsSQL, which, age)
	w.insert(fill, 1, w.rows)
	w.exec("ALTER TABLE pending_users ADD CONSTRAINT pending_users_key_hash_key UNIQUE (key_hash)")
	w.exec("CREATE INDEX pending_users_kid ON pending_users (kid, expires_at) WHERE kid IS NOT NULL")
	w.settle("pending_users")
	l := &load{each: func(ctx context.Context, i int) error {
		k := i * 7919 % (w.rows - due) // anywhere among those that are alive
		n := due + k + 1
		if !w.byAge {
			n = k/9*10 + k%9 + 1
		}
		return w.app.InTx(ctx, func(tx pgx.Tx) error {
			_, err := w.app.ActivatePending(ctx, tx, accounts.Activation{KeyHash: sha256.Sum256([]byte(strconv.Itoa(n)))})
			return err
		})
	}}
	without := w.without(l)
	ours := w.ours("**ours**", "pending_users", sweep.Of(w.db, sweep.Expiry()), l)
	w.insert(fill, w.rows+1, due)
	w.settle("pending_users")
	naive := w.naive("one DELETE", "pending_users", "DELETE FROM pending_users WHERE expires_at <= now()", l)
	show(fmt.Sprintf("%d of %d registrations have expired; %d activations/s", due, w.rows, perSecond), without, ours, naive)
}

const (
	usersSQL = `
INSERT INTO users (id, email, email_norm, password_hash)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'user' || lpad(n::text, 9, '0') || '@example.org', 'user' || lpad(n::text, 9, '0') || '@example.org', '` + hash + `'
FROM generate_series($1::int, $2::int) n`
	// Every twentieth is locked, and his time is over. It takes for how many seconds, and which rows n.
	lockoutsSQL = `
INSERT INTO login_state (email_norm, failed_attempts, last_failed_at, locked_until)
SELECT 'user' || lpad(n::text, 9, '0') || '@example.org', 5, statement_timestamp() - interval '1 day',
       CASE WHEN n %% 20 = 0 THEN statement_timestamp() - %s * interval '1 s' END
FROM generate_series($1::int, $2::int) n WHERE %s
ON CONFLICT (email_norm) DO UPDATE SET failed_attempts = 5, locked_until = excluded.locked_until`
)

func (w world) lockouts() {
	w.Helper()
	due := w.rows / 20
	w.insert(usersSQL, 1, w.rows)
	age := fmt.Sprintf("86400::float8 * (%d - n) / %d", w.rows, w.rows)
	if !w.byAge {
		age = "(n % 86400)"
	}
	w.insert(fmt.Sprintf(lockoutsSQL, age, "true"), 1, w.rows)
	w.settle("users, login_state")
	a, err := accounts.New(w.db, authjobs.NewNotifier[pgx.Tx](w.db), accounts.Config{})
	must(w.B, err)
	l := &load{each: func(ctx context.Context, i int) error {
		n := (i*7919%due + 1) * 20
		address := fmt.Sprintf("user%09d@example.org", n)
		charge, err := w.app.ChargeAttempt(ctx, address, accounts.Lockout{Limit: 5, For: 15 * time.Minute})
		if err != nil || !charge.Allowed || charge.User == nil {
			return fmt.Errorf("%s: %+v: %w", address, charge, err)
		}
		_, err = w.app.RecordLogin(ctx, accounts.Login{UserID: charge.User.ID, EmailNorm: address, Verified: charge.User.PasswordHash})
		return err
	}}
	without := w.without(l)
	steps := []sweep.Step{{Walk: sweep.Unlocking()[0], Batch: func(ctx context.Context, limit int) (b sweep.Batch, err error) {
		err = w.db.InTx(ctx, func(tx pgx.Tx) (err error) {
			b.Gone, err = a.LiftLockouts(ctx, tx, limit)
			return err
		})
		b.More = b.Gone >= limit-limit/10
		return b, err
	}}}
	ours := w.ours("**ours**", "login_state", steps, l)
	w.insert(fmt.Sprintf(lockoutsSQL, age, "n % 20 = 0"), 1, w.rows)
	w.settle("login_state")
	naive := w.naive("one DELETE", "login_state", "DELETE FROM login_state WHERE locked_until <= now()", l)
	show(fmt.Sprintf("%d of %d locks are over; %d logins/s of their owners, without the hash", due, w.rows, perSecond), without, ours, naive)
}
