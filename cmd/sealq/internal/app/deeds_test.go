package app_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/requests"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
)

// desk is a database with a ring in it, what operators ask for, and processes that carry it out.
type desk struct {
	*system

	store store.DB // the same database, for what only workers, and time, do
	vault *signing.Database
	keys  *signing.Keys
}

// atADesk runs a test on PostgreSQL and on SQLite.
func atADesk(t *testing.T, test func(d *desk)) {
	t.Helper()
	for name, url := range map[string]func(t *testing.T) string{
		"PostgreSQL": func(t *testing.T) string { t.Helper(); return testservers.Postgres(t) },
		"SQLite":     func(t *testing.T) string { t.Helper(); return "sqlite:" + t.TempDir() + "/sealq.db" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := url(t)
			d := &desk{system: newSystemOn(t, database, nil)}
			var err error
			d.store, err = store.Open(t.Context(), database)
			check(t, err)
			t.Cleanup(func() { check(t, d.store.Close()) })
			d.vault = d.inDatabase(t)
			d.keys = d.opened(t)
			check(t, d.db.ReportRing(t.Context(), d.keys.Report("host/0")))
			test(d)
		})
	}
}

// opened are the keys as a process has them that does not follow the ring by itself.
func (d *desk) opened(t *testing.T) *signing.Keys {
	t.Helper()
	keys, err := signing.OpenWith(t.Context(), d.vault, "test", signing.Options{Poll: 3 * time.Minute})
	check(t, err)
	t.Cleanup(keys.Close)
	return keys
}

// carrier is one of a process with the keys. change may take them from it.
func (d *desk) carrier(process string, change ...func(*app.CarrierConfig)) *requests.Carrier {
	d.t.Helper()
	c := app.CarrierConfig{Keys: d.keys, Ring: d.vault, Process: process}
	for _, f := range change {
		f(&c)
	}
	carrier, err := app.NewCarrier(d.db, c)
	check(d.t, err)
	return carrier
}

func (d *desk) ask(kind requests.Kind, args map[string]string) (id string) {
	d.t.Helper()
	r, err := requests.New(kind, "operator:ann", args)
	check(d.t, err)
	check(d.t, d.db.MakeRequest(d.t.Context(), r, requests.Life))
	return r.ID
}

// asked is the request as it stands now.
func (d *desk) asked(id string) requests.Request {
	d.t.Helper()
	all, err := d.db.Requests(d.t.Context(), 100)
	check(d.t, err)
	i := slices.IndexFunc(all, func(r requests.Request) bool { return r.ID == id })
	if i < 0 {
		d.t.Fatalf("there is no request %s", id)
	}
	return all[i]
}

// carried asks, and has it carried out by one process.
func (d *desk) carried(kind requests.Kind, args map[string]string) requests.Request {
	d.t.Helper()
	id := d.ask(kind, args)
	check(d.t, d.carrier("host/1").Carry(d.t.Context()))
	return d.asked(id)
}

// ends holds a request to how it ended.
func (d *desk) ends(what string, r requests.Request, state requests.State, outcome string) {
	d.t.Helper()
	if r.State != state || !strings.Contains(r.Outcome, outcome) {
		d.t.Errorf("%s: %s, %q; want %s, %q", what, r.State, r.Outcome, state, outcome)
	}
}

// raced asks, and lets eight processes try at once. One does it.
func (d *desk) raced(kind requests.Kind, args map[string]string) requests.Request {
	d.t.Helper()
	id := d.ask(kind, args)
	var carrying sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		keys := d.opened(d.t)
		c := d.carrier(fmt.Sprintf("host/%d", i), func(c *app.CarrierConfig) { c.Keys = keys })
		carrying.Go(func() { errs[i] = c.Carry(d.t.Context()) })
	}
	carrying.Wait()
	took := 0
	for _, err := range errs {
		if err == nil {
			took++
		} else if !errors.Is(err, requests.ErrNone) {
			check(d.t, err)
		}
	}
	if took != 1 {
		d.t.Errorf("%s: %d processes did it", kind, took)
	}
	check(d.t, d.keys.Reload(d.t.Context()))
	return d.asked(id)
}

// kept puts a task into quarantine: signed for the sweep of that tick, if keys are given.
func (d *desk) kept(id string, keys *signing.Keys, r jobs.Refused) (entry string) {
	d.t.Helper()
	task := signing.Task{Kind: string(authjobs.KindResetLockouts), ID: id, Queue: jobs.QueueCritical, MaxRetry: 103, Payload: []byte(`{"tick":"","limit":1}`)}
	r.ID, r.TaskID, r.Queue, r.Kind, r.MaxRetry, r.Payload = uuid.NewString(), id, task.Queue, task.Kind, task.MaxRetry, task.Payload
	r.Size, r.PayloadSHA256, r.Headers = int64(len(r.Payload)), sha256.Sum256(r.Payload), map[string]string{}
	if keys != nil {
		sig, _, err := keys.Sign(task, signing.Validity{Expires: time.Now().Add(time.Hour)})
		check(d.t, err)
		r.Headers[signing.SignatureHeader] = sig
	}
	if r.Reason == "" {
		r.Reason = signing.ReasonBadSignature
	}
	keeper, ok := d.store.(worker.Quarantine)
	if !ok {
		d.t.Fatalf("%T keeps nothing", d.store)
	}
	check(d.t, keeper.Keep(d.t.Context(), r))
	return r.ID
}

// signed is one that was signed, and refused for where it lay.
func (d *desk) signed(id string) (entry string) {
	d.t.Helper()
	return d.kept(id, d.keys, jobs.Refused{Reason: signing.ReasonWrongQueue, Authentic: true})
}

func (d *desk) rows() int64 {
	d.t.Helper()
	unfinished, _, err := d.db.OutboxDepth(d.t.Context())
	check(d.t, err)
	return unfinished[jobs.RowQueued]
}

// exec changes the tables as time would.
func (d *desk) exec(statement string) {
	d.t.Helper()
	switch db := d.store.(type) {
	case *postgres.DB:
		check(d.t, db.InTx(d.t.Context(), func(tx pgx.Tx) error { _, err := tx.Exec(d.t.Context(), statement); return err }))
	case *sqlite.DB:
		check(d.t, db.InTx(d.t.Context(), func(tx *sql.Tx) error { _, err := tx.ExecContext(d.t.Context(), statement); return err }))
	}
}

// entries are the actions on the audit log that begin so, the newest first, with who did them.
func (d *desk) entries(action string) (all []string) {
	d.t.Helper()
	links, err := d.db.AuditPage(d.t.Context(), audit.Query{Action: action}, 100)
	check(d.t, err)
	for _, l := range links {
		all = append(all, l.Entry.Actor+" "+l.Entry.Action)
	}
	return all
}

func TestWhatOperatorsAskForIsDoneOnceHoweverManyProcessesWouldDoIt(t *testing.T) {
	t.Parallel()
	atADesk(t, func(d *desk) {
		entry := d.signed("a")
		d.ends("release", d.raced(requests.Release, map[string]string{"ids": entry}), requests.Done, "Released as ")
		if n := d.rows(); n != 1 {
			d.t.Errorf("a release made %d rows", n)
		}
		d.ends("a second release", d.carried(requests.Release, map[string]string{"ids": entry}), requests.Failed, "it was released before, as ")

		for i := range 5 {
			d.kept(fmt.Sprint("forged", i), nil, jobs.Refused{})
		}
		d.ends("purge", d.raced(requests.Purge, map[string]string{"reason": "bad_signature"}), requests.Done, "5 entries purged, 0 of them signed.")
		if list, err := d.db.QuarantineList(d.t.Context(), 100); err != nil || len(list) != 1 {
			d.t.Errorf("%d entries are left, %v", len(list), err)
		}

		row, err := d.db.Enqueue(d.t.Context(), authjobs.ResetLockouts().With(authjobs.Sweep{Limit: 1}))
		check(d.t, err)
		args := map[string]string{"row": row, "kind": string(authjobs.KindResetLockouts), "attempt": "1"}
		d.ends("reissue", d.raced(requests.Reissue, args), requests.Done, "is queued as attempt 2")
		if info, err := d.db.RowInfo(d.t.Context(), row); err != nil || info.Attempt != 2 {
			d.t.Errorf("it is at attempt %d, %v", info.Attempt, err)
		}
		d.ends("a reissue of what was looked at before", d.carried(requests.Reissue, args), requests.Failed, "")
	})
}

func TestKeysAreMovedOnceByARequestAndOnlyTheRingThatWasLookedAt(t *testing.T) {
	t.Parallel()
	atADesk(t, func(d *desk) {
		t := d.t
		d.ends("rotate", d.raced(requests.Rotate, map[string]string{"version": "1"}), requests.Done, "is published")
		keys := d.keys.Infos()
		if len(keys) != 2 || keys[1].State != signing.Published {
			t.Fatalf("the ring has %v", keys)
		}
		old, fresh := keys[0].KID, keys[1].KID
		d.ends("rotate the ring as it was", d.carried(requests.Rotate, map[string]string{"version": "1"}), requests.Failed, "the key ring is another one than when it was looked at")

		promote := map[string]string{"kid": fresh.String(), "version": "2"}
		d.ends("promote what another process does not know", d.carried(requests.Promote, promote), requests.Failed, "not known to host/0")
		check(t, d.db.ReportRing(t.Context(), d.keys.Report("host/0")))
		d.ends("promote what is too young", d.carried(requests.Promote, promote), requests.Failed, "published too recently")
		later := func() time.Time { return time.Now().Add(6 * time.Minute) }
		id := d.ask(requests.Promote, promote)
		check(t, d.carrier("host/1", func(c *app.CarrierConfig) { c.Now = later }).Carry(t.Context()))
		d.ends("promote", d.asked(id), requests.Done, fresh.String()+" is active. Processes that know it: 1.")

		_, err := d.accounts.Register(t.Context(), accounts.Registration{Email: "ada@example.org", Password: password})
		check(t, err)
		d.ends("revoke the active one", d.raced(requests.Revoke, map[string]string{"kid": fresh.String()}), requests.Done, "nothing that it signed verifies any more")
		states := make(map[signing.KID]signing.State)
		actives := 0
		for _, k := range d.keys.Infos() {
			if states[k.KID] = k.State; k.State == signing.Active {
				actives++
			}
		}
		if states[fresh] != signing.Revoked || actives != 1 || d.keys.Version() != 4 {
			t.Errorf("version %d: %v", d.keys.Version(), states)
		}
		d.ends("revoke another", d.carried(requests.Revoke, map[string]string{"kid": old.String()}), requests.Done, "is revoked")
		d.ends("revoke nothing", d.carried(requests.Revoke, map[string]string{"kid": "ffffffff"}), requests.Failed, "")
		d.ends("revoke what is none", d.carried(requests.Revoke, map[string]string{"kid": "<b>"}), requests.Failed, "")
		if got := d.entries("keys.revoke"); len(got) != 3 || got[0] != "operator:ann keys.revoke" { // the one of nothing too: it was tried
			t.Errorf("entries: %q", got)
		}
		if got := d.entries("request.done"); len(got) != 4 || !slices.Contains(got, "process:host/1 request.done") {
			t.Errorf("ends in the audit log: %q", got)
		}
	})
}

// dying is a database of a process that is killed when its deed is done, and before it has told so.
type dying struct{ app.Database }

var errKilled = errors.New("killed")

func (dying) EndRequest(context.Context, string, string, requests.State, string) (bool, error) {
	return false, errKilled
}

func TestWhatAProcessWasKilledOverIsLostToldAndDoneByNobodyElse(t *testing.T) {
	t.Parallel()
	atADesk(t, func(d *desk) {
		t := d.t
		entry := d.signed("a")
		id := d.ask(requests.Release, map[string]string{"ids": entry})
		c, err := app.NewCarrier(dying{d.db}, app.CarrierConfig{Keys: d.keys, Ring: d.vault, Process: "host/1"})
		check(t, err)
		if err := c.Carry(t.Context()); !errors.Is(err, errKilled) {
			t.Fatalf("want it killed, got %v", err)
		}
		if r := d.asked(id); r.State != requests.Taken || r.Holder != "host/1" {
			t.Errorf("it is %s by %s", r.State, r.Holder)
		}
		again, err := requests.New(requests.Release, "operator:bob", map[string]string{"ids": entry})
		check(t, err)
		if err := d.db.MakeRequest(t.Context(), again, requests.Life); !errors.Is(err, requests.ErrAsked) {
			t.Errorf("while it is under way, want ErrAsked, got %v", err)
		}
		d.exec(`UPDATE requests SET lease_until = taken_at`)
		if r := d.asked(id); r.State != requests.Lost {
			t.Errorf("it is %s, want lost", r.State)
		}
		if err := d.carrier("host/2").Carry(t.Context()); !errors.Is(err, requests.ErrNone) {
			t.Errorf("another process did it, %v", err)
		}
		// Who looks finds it done, and who asks again is told.
		d.ends("asked again", d.carried(requests.Release, map[string]string{"ids": entry}), requests.Failed, "it was released before, as ")
		if n := d.rows(); n != 1 {
			t.Errorf("there are %d rows", n)
		}
	})
}

func TestWhatNobodyCanDoWaitsAndExpiresUndone(t *testing.T) {
	t.Parallel()
	atADesk(t, func(d *desk) {
		t := d.t
		entry := d.signed("a")
		release := d.ask(requests.Release, map[string]string{"ids": entry})
		rotate := d.ask(requests.Rotate, map[string]string{"version": "1"})
		scheduler := d.carrier("scheduler/1", func(c *app.CarrierConfig) { c.Keys, c.Ring = nil, nil })
		if err := scheduler.Carry(t.Context()); !errors.Is(err, requests.ErrNone) {
			t.Errorf("a process without keys took one, %v", err)
		}
		worker := d.carrier("worker/1", func(c *app.CarrierConfig) { c.Ring = nil }) // whose ring is in a file
		check(t, worker.Carry(t.Context()))
		d.ends("a release by a ring in a file", d.asked(release), requests.Done, "Released as")
		if err := worker.Carry(t.Context()); !errors.Is(err, requests.ErrNone) || d.asked(rotate).State != requests.Waiting {
			t.Errorf("a process without the ring rotates: %v, %s", err, d.asked(rotate).State)
		}
		d.exec(`UPDATE requests SET expires_at = made_at`)
		if err := d.carrier("host/1").Carry(t.Context()); !errors.Is(err, requests.ErrNone) || d.asked(rotate).State != requests.Expired {
			t.Errorf("too late: %v, %s", err, d.asked(rotate).State)
		}
		if d.keys.Version() != 1 {
			t.Errorf("the ring has version %d", d.keys.Version())
		}
		// A ring that is older than one that was seen may lack a revocation.
		check(t, d.db.ReportRing(t.Context(), signing.Report{Process: "host/9", Version: 7, CheckValues: d.keys.CheckValues()}))
		d.ends("a release by an older ring", d.carried(requests.Release, map[string]string{"ids": d.signed("b")}), requests.Failed, "version 7 was seen")
	})
}

func TestManyAreReleasedByOneRequestAndWhatCannotBeIsPassedOverAndTold(t *testing.T) {
	t.Parallel()
	atADesk(t, func(d *desk) {
		t := d.t
		stranger, err := signing.NewRing(time.Now(), time.Hour)
		check(t, err)
		foreign, err := signing.OpenWith(t.Context(), memory{stranger}, "test", signing.Options{})
		check(t, err)
		t.Cleanup(foreign.Close)
		for i := range 120 { // more than one page
			d.signed(fmt.Sprint("s", i))
		}
		d.kept("claims to be signed", foreign, jobs.Refused{Reason: signing.ReasonWrongQueue, Authentic: true}) // as whoever writes to the table can
		d.kept("forged", nil, jobs.Refused{Reason: signing.ReasonWrongQueue})
		late := d.kept("late", d.keys, jobs.Refused{Reason: signing.ReasonUnknownKey}) // its key was not known then
		strange := d.kept("strange", nil, jobs.Refused{})

		d.ends("of a reason", d.carried(requests.Release, map[string]string{"reason": "wrong_queue"}), requests.Done,
			"120 released, each as a new outbox row; 1 not: ")
		if n := d.rows(); n != 120 {
			t.Errorf("%d rows", n)
		}
		d.ends("of it once more", d.carried(requests.Release, map[string]string{"reason": "wrong_queue"}), requests.Failed, "nothing was released, of 1 that were tried: ")
		d.ends("of everything", d.carried(requests.Release, map[string]string{}), requests.Failed, "name a reason, a queue or a kind")
		d.ends("some", d.carried(requests.Release, map[string]string{"ids": late + " " + strange + " none"}), requests.Done, "1 released, each as a new outbox row; 2 not: ")
		if n := d.rows(); n != 121 {
			t.Errorf("%d rows", n)
		}
	})
}

// memory is a key ring in memory.
type memory struct{ *signing.Ring }

func (m memory) Load(context.Context) (*signing.Ring, error) { return m.Ring, nil }
func (memory) String() string                                { return "memory" }
