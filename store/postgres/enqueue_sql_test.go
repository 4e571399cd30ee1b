package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

func TestARowMadeInSQLIsWhatEnqueueTxWouldHaveRecorded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy  jobs.Policy
		opts    []jobs.Option
		options string // the same in SQL
	}{
		"by its policy":              {policy: jobs.Policy{Queue: "notes", MaxAge: 90 * time.Minute, Retries: 7}},
		"of a kind without a policy": {},
		"without retries":            {policy: jobs.Policy{Retries: jobs.NoRetries}},
		"encrypted on its way":       {policy: jobs.Policy{Encrypt: true, NoLedger: true}},
		"a life of days":             {policy: jobs.Policy{MaxAge: 29 * 24 * time.Hour}},
		"delayed":                    {opts: []jobs.Option{jobs.In(3 * time.Hour)}, options: `, delay => '3 hours'`},
		"delayed by seconds":         {opts: []jobs.Option{jobs.In(30 * time.Second)}, options: `, '30 s'`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSQLWorld(t)
			def := jobs.Define[noteArgs]("test:mine", test.policy)
			w.record(t, def)
			if err := w.db.InTx(t.Context(), func(tx pgx.Tx) error {
				_, err := w.db.EnqueueTx(t.Context(), tx, def.With(noteArgs{Note: `h"é🗝`}, test.opts...))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			wantCode(t, w.conn, "", "SET TimeZone = 'America/New_York'") // an hour's change within a life is no hour more
			enqueueSQL(t, w.conn, `'test:mine', '{"note": "h\"é🗝"}'`+test.options)

			rows, err := pgx.CollectRows(must1(w.raw.Query(t.Context(), `SELECT * FROM outbox ORDER BY created_at`)), pgx.RowToMap)
			if err != nil || len(rows) != 2 {
				t.Fatalf("%d rows, %v", len(rows), err)
			}
			want, got := rows[0], rows[1]
			for _, column := range []string{"next_at", "expires_at"} {
				a := want[column].(time.Time).Sub(want["not_before"].(time.Time))
				b := got[column].(time.Time).Sub(got["not_before"].(time.Time))
				// Go's delays go by the caller's clock, so next_at may differ by what passes in between.
				if off := (a - b).Abs(); off > 5*time.Second || column == "expires_at" && off != 0 {
					t.Errorf("%s is %v after not_before, want %v", column, b, a)
				}
			}
			if off := got["not_before"].(time.Time).Sub(want["not_before"].(time.Time)); off < 0 || off > time.Minute {
				t.Errorf("not_before is %v later", off)
			}
			if diff := cmp.Diff(string(want["payload"].([]byte)), strings.ReplaceAll(string(got["payload"].([]byte)), `": "`, `":"`)); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
			for _, column := range []string{"id", "created_at", "next_at", "not_before", "expires_at", "payload"} {
				delete(want, column)
				delete(got, column)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the other columns (-EnqueueTx +SQL):\n%s", diff)
			}
			for _, row := range must1(w.db.ClaimRows(t.Context(), jobs.Claim{Kinds: []jobs.Kind{def.Kind()}, Limit: 10, Lease: time.Minute})) {
				if err := def.Check(row.Payload); err != nil || row.Headers != nil {
					t.Errorf("row %s: %v, headers %v", row.ID, err, row.Headers)
				}
			}
		})
	}
}

func must1[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

func TestIDsMadeInSQLAreUUIDsInTheOrderOfTheirMaking(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	before := time.Now()
	var ids []string
	for range 20 {
		ids = append(ids, enqueueSQL(t, w.conn, `'test:mine'`))
	}
	if !slices.IsSorted(ids) {
		t.Errorf("not in order: %v", ids)
	}
	for _, id := range ids {
		parsed, err := uuid.Parse(id)
		if err != nil || parsed.Version() != 7 || parsed.Variant() != uuid.RFC4122 || parsed.String() != id {
			t.Fatalf("%q is no UUIDv7: %v", id, err)
		}
		made := time.Unix(parsed.Time().UnixTime())
		if off := made.Sub(before); off < -time.Second || off > time.Minute {
			t.Errorf("%s was made at %v, the test began at %v", id, made, before)
		}
	}
	if len(slices.Compact(ids)) != 20 {
		t.Error("an ID came twice")
	}
}

func TestAJobInSQLBelongsToTheTransactionThatRecordsIt(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	exec(t, w.raw, "CREATE TABLE orders (item text); GRANT ALL ON orders TO "+quoted(w.role))
	wantCode(t, w.conn, "", `BEGIN; INSERT INTO orders VALUES ('a hat'); SELECT sealq_enqueue('test:mine', '{"note": "a hat"}'); ROLLBACK`)
	w.wantRows(t, "0")
	wantCode(t, w.conn, "", `BEGIN; INSERT INTO orders VALUES ('a coat'); SELECT sealq_enqueue('test:mine', '{"note": "a coat"}'); COMMIT`)
	w.wantRows(t, "1")
	if got := scalar(t, w.raw, "SELECT item FROM orders"); got != "a coat" {
		t.Errorf("ordered is %q", got)
	}
}

func TestWhatSQLMayNotEnqueueIsRefusedByCode(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	recorded := 0
	big := fmt.Sprintf(`jsonb_build_object('note', repeat('x', %d))`, jobs.MaxArgsBytes)
	for name, test := range map[string]struct{ code, arguments string }{
		"a kind that is not granted":    {"42501", `'test:other', '{}'`},
		"a kind that does not exist":    {"42501", `'test:none', '{}'`},
		"no kind":                       {"42501", `NULL, '{}'`},
		"a kind that only begins so":    {"42501", `'test:mine:evil', '{}'`},
		"a kind in another case":        {"42501", `'TEST:MINE', '{}'`},
		"a kind with a trailing blank":  {"42501", `'test:mine ', '{}'`},
		"a kind in another collation":   {"", `'test:mine' COLLATE "POSIX", '{}'`},
		"a kind without end":            {"42501", `repeat('x', 1000000), '{}'`},
		"arguments that are NULL":       {"22023", `'test:mine', NULL`},
		"arguments that are null":       {"22023", `'test:mine', 'null'`},
		"arguments that are an array":   {"22023", `'test:mine', '[]'`},
		"arguments that are a string":   {"22023", `'test:mine', '"{}"'`},
		"arguments that are no JSON":    {"22P02", `'test:mine', '{'`},
		"arguments without end":         {"22023", `'test:mine', ` + big},
		"arguments that grow":           {"22023", `'test:mine', ('{"n": [' || rtrim(repeat('1e131071,', 9), ',') || ']}')::jsonb`},
		"arguments that just fit":       {"", fmt.Sprintf(`'test:mine', jsonb_build_object('note', repeat('x', %d))`, jobs.MaxArgsBytes-28-len(`{"note": ""}`))},
		"arguments that just do not":    {"22023", fmt.Sprintf(`'test:mine', jsonb_build_object('note', repeat('x', %d))`, jobs.MaxArgsBytes-27-len(`{"note": ""}`))},
		"a delay below zero":            {"22023", `'test:mine', '{}', '-1 microsecond'`},
		"a delay of centuries":          {"22023", `'test:mine', '{}', '300 years'`},
		"a delay of a year":             {"", `'test:mine', '{}', '1 year'`},
		"a delay past 366 days":         {"22023", `'test:mine', '{}', '366 days 1 second'`},
		"centuries disguised as a day":  {"22023", `'test:mine', '{}', '3000000 months -89999999 days'`},
		"a past disguised as a future":  {"22023", `'test:mine', '{}', '-12000 months 360001 days'`},
		"a delay past the calendar":     {"22023", `'test:mine', '{}', '178000000 years'`},
		"a delay that is NULL":          {"", `'test:mine', '{}', NULL`},
		"a unique key that is empty":    {"22023", `'test:mine', '{}', unique_key => ''`},
		"a unique key that is blank":    {"22023", `'test:mine', '{}', unique_key => '  '`},
		"a unique key without end":      {"22023", `'test:mine', '{}', unique_key => repeat('x', 257)`},
		"a unique key that is NULL":     {"", `'test:mine', '{}', unique_key => NULL`},
		"an ID of its own":              {"42883", `'test:mine', '{}', id => gen_random_uuid()`},
		"a queue of its own":            {"42883", `'test:mine', '{}', queue => 'critical'`},
		"an ungranted one, bad besides": {"42501", `'test:other', NULL, '-1 s', ''`},
	} {
		if got, message := try(t, w.conn, "SELECT sealq_enqueue("+test.arguments+")"); got != test.code {
			t.Errorf("%s: want SQLSTATE %q, got %q: %s", name, test.code, got, message)
		}
		if test.code == "" {
			recorded++
		}
	}
	w.wantRows(t, strconv.Itoa(recorded))
	_, unknown := try(t, w.conn, "SELECT sealq_enqueue('test:xxxxx', '{}')")
	_, ungranted := try(t, w.conn, "SELECT sealq_enqueue('test:other', '{}')")
	if got := strings.ReplaceAll(unknown, "test:xxxxx", "test:other"); got != ungranted || got == "" {
		t.Errorf("they can be told apart: %q and %q", got, ungranted)
	}
	_, long := try(t, w.conn, "SELECT sealq_enqueue(repeat('x', 100000))")
	if len(long) > 500 {
		t.Errorf("an error of %d bytes", len(long))
	}
}

func TestAUniqueKeyInSQLIsItsKindsOwn(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	// A kind whose name goes on where test:mine's ends, and keys made to look alike.
	longer := jobs.Define[noteArgs]("test:mine:more", jobs.Policy{})
	byArgs := jobs.Define[noteArgs]("test:byargs", jobs.Policy{Unique: true})
	w.record(t, longer, byArgs)
	if err := w.db.GrantEnqueue(t.Context(), w.role, "test:mine:more", "test:other", "test:byargs"); err != nil {
		t.Fatal(err)
	}
	id := enqueueSQL(t, w.conn, `'test:mine', unique_key => 'one'`)
	wantCode(t, w.conn, "23505", `SELECT sealq_enqueue('test:mine', '{"note": "another"}', unique_key => 'one')`)
	for _, free := range []string{
		`'test:mine', unique_key => 'two'`, `'test:mine', unique_key => 'ONE'`, `'test:other', unique_key => 'one'`, `'test:mine'`, `'test:mine'`,
		`'test:mine', unique_key => 'more:one'`, `'test:mine:more', unique_key => 'one'`, `'test:mine', unique_key => ':more' || chr(31) || 'one'`,
	} {
		wantCode(t, w.conn, "", "SELECT sealq_enqueue("+free+")")
	}
	// Keys of Go's are not to be blocked from SQL, nor the other way.
	for _, key := range []string{"one", "test:mine:one", "test:mine one", "test:other:one"} {
		wantCode(t, w.conn, "", "SELECT sealq_enqueue('test:other', unique_key => "+literal("go "+key)+")")
		if err := w.db.InTx(t.Context(), func(tx pgx.Tx) error {
			_, err := w.db.EnqueueTx(t.Context(), tx, mine().With(noteArgs{}, jobs.UniqueKey(key)))
			return err
		}); err != nil {
			t.Errorf("Go's key %q: %v", key, err)
		}
	}
	if err := w.db.RowDone(t.Context(), jobs.RowRef{ID: id, Kind: "test:mine", Attempt: 1}); err != nil {
		t.Fatal(err)
	}
	enqueueSQL(t, w.conn, `'test:mine', unique_key => 'one'`)

	// A definition that is unique by its arguments: as jsonb has them, so without regard to order and blanks.
	enqueueSQL(t, w.conn, `'test:byargs', '{"note": "a", "n": 1}'`)
	wantCode(t, w.conn, "23505", `SELECT sealq_enqueue('test:byargs', '{"n":1,"note":"a"}')`)
	enqueueSQL(t, w.conn, `'test:byargs', '{"note": "b", "n": 1}'`)
	enqueueSQL(t, w.conn, `'test:byargs', '{"note": "a", "n": 1}', unique_key => 'again'`)
}

func TestADuplicateInSQLLeavesTheTransactionToItsSavepoint(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	enqueueSQL(t, w.conn, `'test:mine', unique_key => 'one'`)
	err := pgx.BeginFunc(t.Context(), w.conn, func(tx pgx.Tx) error {
		inner := pgx.BeginFunc(t.Context(), tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `SELECT sealq_enqueue('test:mine', unique_key => 'one')`)
			return err
		})
		if inner == nil {
			t.Error("the duplicate was recorded")
		}
		_, err := tx.Exec(t.Context(), `SELECT sealq_enqueue('test:mine')`)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	w.wantRows(t, "2")
}

func TestTwentyRacersInSQLForAUniqueKeyRecordOne(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	codes := make(chan string)
	for range 20 {
		conn := w.login(t, w.role)
		go func() {
			code, _ := try(t, conn, `SELECT sealq_enqueue('test:mine', unique_key => 'one')`)
			codes <- code
		}()
	}
	got := map[string]int{}
	for range 20 {
		got[<-codes]++
	}
	if diff := cmp.Diff(map[string]int{"": 1, "23505": 19}, got); diff != "" {
		t.Errorf("outcomes by SQLSTATE (-want +got):\n%s", diff)
	}
}

// What a worker's strict decoder makes of arguments that went through jsonb.
func TestArgumentsReachTheDecoderAsJSONBHasThem(t *testing.T) {
	t.Parallel()
	type numbers struct {
		Int   int64   `json:"int"`
		Float float64 `json:"float"`
		Text  string  `json:"text"`
	}
	def := jobs.Define[numbers]("test:numbers", jobs.Policy{})
	w := newSQLWorld(t)
	w.record(t, def)
	if err := w.db.GrantEnqueue(t.Context(), w.role, "test:numbers"); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		`{"int": 1e3, "float": 1e3}`:               `{"int": 1000, "float": 1000}`,
		`{"int": 9007199254740993}`:                `{"int": 9007199254740993}`,
		`{"float": 1e-7}`:                          `{"float": 0.0000001}`,
		`{"float": -0}`:                            `{"float": 0}`,
		`{"int": 1, "int": 2}`:                     `{"int": 2}`, // the last one, as jsonb has it
		`{"text": "\u00e9 \ud83d\udd11 \n\u001f"}`: `{"text": "é 🔑 \n\u001f"}`,
		`{"int": 1.0}`:                             "", // no integer to Go, and none to jsonb
		`{"unknown": 1}`:                           "",
	} {
		wantCode(t, w.conn, "", "SELECT sealq_enqueue('test:numbers', '"+args+"')")
		rows, err := w.db.ClaimRows(t.Context(), jobs.Claim{Kinds: []jobs.Kind{def.Kind()}, Limit: 10, Lease: time.Minute})
		if err != nil || len(rows) != 1 {
			t.Fatalf("%s: %d rows, %v", args, len(rows), err)
		}
		err = def.Check(rows[0].Payload)
		if want == "" {
			if !errors.Is(err, jobs.ErrInvalidArgs) {
				t.Errorf("%s: %v", args, err)
			}
			continue
		}
		if err != nil || string(rows[0].Payload) != want {
			t.Errorf("%s: payload %s, want %s: %v", args, rows[0].Payload, want, err)
		}
	}
}

func TestInASchemaOfItsOwnTheFunctionFindsItsTablesFromEverySearchPath(t *testing.T) {
	t.Parallel()
	_, address := openUnmigrated(t)
	raw := rawPool(t, address)
	schema := `We"ird '$body$ schema`
	exec(t, raw, "CREATE SCHEMA "+quoted(schema))
	exec(t, raw, "CREATE SCHEMA empty; CREATE TABLE public.outbox (id int)")
	db, err := postgres.Open(t.Context(), withParameter(address, "search_path="+url.PathEscape(quoted(schema))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := &sqlWorld{db: db, raw: raw, url: address}
	w.record(t, mine())
	w.role = w.newRole(t, "LOGIN")
	if err := db.GrantEnqueue(t.Context(), w.role, "test:mine"); err != nil {
		t.Fatal(err)
	}
	conn := w.login(t, w.role)
	for _, path := range []string{"public", "empty", quoted(schema), "pg_temp, public", "''"} {
		wantCode(t, conn, "", "SET search_path = "+path+"; SELECT "+quoted(schema)+".sealq_enqueue('test:mine')")
	}
	if got := scalar(t, raw, "SELECT count(*) FROM "+quoted(schema)+".outbox"); got != "5" {
		t.Errorf("%s rows", got)
	}
	if err := db.RevokeEnqueue(context.WithoutCancel(t.Context()), w.role); err != nil {
		t.Error(err)
	}
	wantCode(t, conn, "42501", "SELECT "+quoted(schema)+".sealq_enqueue('test:mine')")
}
