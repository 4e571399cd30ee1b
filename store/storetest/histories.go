package storetest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/argon2"
	"pgregory.net/rapid"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs/authjobs"
)

// Histories: random operations of package accounts over a driver, with time that passes, sweeps, transactions that are rolled back, and processes
// that end in the middle, against the model. After every step the whole database is what the model says.

// historiesFor is after how long an ordinary run begins no further history: on a machine that does nothing else it has done its hundred long before.
const historiesFor = 10 * time.Second

func historyTests[Tx any]() []test[Tx] {
	return []test[Tx]{{"whatever happens to accounts, in whatever order, rolled back and cut off in the middle, the model tells it", func(s suite[Tx]) {
		began := time.Now()               //nolint:forbidigo // of the test itself
		hurry := os.Getenv(fullEnv) == "" //nolint:forbidigo // the suite has no command of its own
		wrong := false                    // a history was: rapid tries shorter ones
		rapid.Check(s.TB, func(t *rapid.T) {
			if hurry && !wrong && time.Since(began) > historiesFor { //nolint:forbidigo // as above
				return
			}
			sound := false
			defer func() { wrong = wrong || !sound }()
			h := newHistory(t, s)
			h.check()
			t.Repeat(h.actions())
			h.soundAudit()
			sound = true
		})
	}}}
}

func historyAddresses() []string {
	return []string{"ada@example.org", "bob@example.org", "eve@example.org"}
}

func historyPasswords() []string { return []string{"Roses-are-8-red", "Violets-are-9-blue"} }

type history[Tx any] struct {
	suite[Tx]
	t       *rapid.T
	a       *accounts.Accounts[Tx]
	w       *world
	keys    []string // of activations
	links   map[accounts.Mail][]string
	asked   []string // IDs of requests
	saved   string   // that of the request that was just saved
	proofs  []proof
	devices []string
	audit   string // the last entry before this history
	passed  time.Duration
	hashes  map[string]string // the passwords of hashes seen so far
}

func newHistory[Tx any](t *rapid.T, s suite[Tx]) *history[Tx] {
	h := &history[Tx]{suite: s, t: t, w: newWorld(), links: map[accounts.Mail][]string{}, hashes: map[string]string{}}
	h.w.tellOwner = rapid.Bool().Draw(t, "tell the owner")
	h.w.again = rapid.SampledFrom([]accounts.RegisterAgain{accounts.RefuseWhilePending, accounts.NewGeneration}).Draw(t, "again")
	for _, table := range []string{
		"user_tokens", "user_notices", "user_roles", "login_devices", "users", "pending_users", "login_state", "owner_requests", "outbox",
	} {
		s.exec("DELETE FROM " + table)
	}
	h.audit = s.scalar("SELECT coalesce(max(id), 0) FROM audit_log")
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var err error
	h.a, err = accounts.New(noted[Tx]{Store: s.DB, saved: &h.saved}, authjobs.NewNotifier[Tx](s.DB), accounts.Config{
		PendingTTL: pendingTTL * time.Minute, ResetTTL: resetTTL * time.Minute, EmailTTL: emailTTL * time.Minute, DeviceTTL: deviceTTL * time.Minute,
		MailEvery: mailEvery * time.Minute, TellOwner: h.w.tellOwner, RegisterAgain: h.w.again, LockoutNotice: true,
		Lockout: accounts.Lockout{Limit: guesses, For: lockFor * time.Minute, Window: failWindow * time.Minute},
		Hash:    accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, GateFor: mailEvery * time.Minute,
		Now: func() time.Time { return began.Add(h.passed) },
	})
	h.must(err)
	return h
}

// crash is a context that ends by itself when it was asked a number of times: somewhere in the middle of an operation.
type crash struct {
	context.Context //nolint:containedctx // it is one
	left            atomic.Int64
	end             context.CancelFunc
}

func newCrash(ctx context.Context, after int) *crash {
	c := &crash{}
	c.Context, c.end = context.WithCancel(ctx)
	c.left.Store(int64(after))
	return c
}

func (c *crash) count() {
	if c.left.Add(-1) == 0 {
		c.end()
	}
}

// Done counts.
func (c *crash) Done() <-chan struct{} { c.count(); return c.Context.Done() }

// Err counts.
func (c *crash) Err() error {
	c.count()
	return c.Context.Err() //nolint:wrapcheck // it is the context's own
}

// An operation runs in tx and tells what the model says of it, which it applies to w.
type operation[Tx any] func(ctx context.Context, tx Tx, w *world) (got, want error)

// inTx draws whether the operations commit, are rolled back or cut off.
func (h *history[Tx]) inTx(ops ...operation[Tx]) {
	end := rapid.SampledFrom([]string{"commit", "commit", "commit", "commit", "roll back", "crash"}).Draw(h.t, "end")
	ctx := h.t.Context()
	if end == "crash" {
		c := newCrash(ctx, rapid.IntRange(1, 60).Draw(h.t, "after"))
		defer c.end()
		ctx = c
	}
	after, cut := h.w.copy(), false
	err := h.DB.InTx(ctx, func(tx Tx) error {
		for _, op := range ops {
			got, want := op(ctx, tx, after)
			if cut = end == "crash" && isAny(got, context.Canceled); cut {
				return got
			}
			h.agree(got, want)
		}
		if end == "roll back" {
			return errRollback
		}
		return nil
	})
	switch {
	case end == "roll back":
		h.agree(err, errRollback)
	case err == nil:
		h.w = after
	case end == "crash" && cut:
	case end == "crash":
		h.decide(h.w, after) // the commit may have gone through
	default:
		h.t.Fatalf("commit: %v", err)
	}
}

func (h *history[Tx]) must(err error) {
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *history[Tx]) agree(got, want error) {
	if want == nil && got != nil || !errors.Is(got, want) {
		h.t.Fatalf("the model says %v, the answer was %v", want, got)
	}
}

// decide takes, after a crash, the world that the database shows.
func (h *history[Tx]) decide(worlds ...*world) {
	if h.Settle != nil {
		h.Settle(h.suite)
	}
	got := h.observe()
	for _, w := range worlds {
		if cmp.Diff(h.expect(w), got) == "" {
			h.w = w
			return
		}
	}
	h.t.Fatalf("after a crash the database is none of what it can be, for one (-want +got):\n%s", cmp.Diff(h.expect(worlds[len(worlds)-1]), got))
}

// lines reads the database. The rest of its tables is none of accounts'.
const linesSQL = `
SELECT 'user ' || CAST(id AS text) || ' ' || email_norm || CASE WHEN disabled_at IS NULL THEN ' on' ELSE ' off' END
	|| CASE WHEN sessions_valid_after IS NULL THEN '' ELSE ' ended' END || ' ' || mail_generation || ' ' || password_hash AS line FROM users
UNION ALL SELECT 'pending ' || CAST(id AS text) || ' ' || email_norm || ' ' || generation
	|| CASE WHEN key_hash IS NULL THEN '' ELSE ' mailed' END || ' ' || password_hash FROM pending_users
UNION ALL SELECT 'login ' || email_norm || CASE WHEN locked_until IS NULL THEN ' ' || failed_attempts ELSE ' locked' END
	|| CASE WHEN by_operator THEN ' by hand' ELSE '' END FROM login_state WHERE failed_attempts > 0 OR locked_until IS NOT NULL
UNION ALL SELECT 'link ' || CAST(user_id AS text) || ' ' || purpose || ' ' || new_email_norm
	|| CASE WHEN key_hash IS NULL THEN '' ELSE ' mailed' END FROM user_tokens
UNION ALL SELECT 'role ' || CAST(user_id AS text) || ' ' || role FROM user_roles
UNION ALL SELECT 'device ' || CAST(user_id AS text) || CASE WHEN locked_until IS NULL THEN ' ' || failed_attempts ELSE ' locked' END FROM login_devices
UNION ALL SELECT 'request ' || CAST(id AS text) || ' ' || email_norm || ' ' || mail || CASE WHEN answered_at IS NULL THEN '' ELSE ' answered' END FROM owner_requests
UNION ALL SELECT 'outbox ' || kind || ' ' || count(*) FROM outbox GROUP BY kind
UNION ALL SELECT 'audit ' || action || ' ' || count(*) FROM audit_log WHERE id > %s GROUP BY action`

// observe is what the database shows, with passwords for their hashes, and where each address stands.
func (h *history[Tx]) observe() []string {
	text := h.scalar("SELECT string_agg(line, ';') FROM (" + fmt.Sprintf(linesSQL, h.audit) + ") AS lines")
	lines := slices.DeleteFunc(strings.Split(text, ";"), func(l string) bool { return l == "" })
	for i, line := range lines {
		if at := strings.Index(line, "$argon2id$"); at >= 0 {
			lines[i] = line[:at] + h.passwordOf(line[at:])
		}
	}
	for _, address := range historyAddresses() {
		status, err := h.a.Show(h.t.Context(), address)
		h.must(err)
		lines = append(lines, fmt.Sprintf("%s is %s, locked %v", address, status.Status, status.LockedUntil != nil))
	}
	slices.Sort(lines)
	return lines
}

// passwordOf finds which password a PHC string of the histories' cost is of.
func (h *history[Tx]) passwordOf(phc string) string {
	if known, ok := h.hashes[phc]; ok {
		return known
	}
	fields := strings.Split(phc, "$")
	salt, err := base64.RawStdEncoding.DecodeString(fields[4])
	h.must(err)
	for _, password := range historyPasswords() {
		if base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte(password), salt, 1, 8, 1, 32)) == fields[5] {
			h.hashes[phc] = password
			return password
		}
	}
	return "a hash of no password"
}

// expect is what the database has to show in a world.
func (h *history[Tx]) expect(w *world) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if2 := func(c bool, text string) string {
		if c {
			return text
		}
		return ""
	}
	counter := func(c hCounter) string {
		if c.until == 0 {
			return fmt.Sprint(c.failed)
		}
		return "locked"
	}
	for id, u := range w.users {
		on := "on"
		if u.disabled {
			on = "off"
		}
		say("user %s %s %s%s %d %s", id, u.address, on, if2(u.ended, " ended"), u.mails, u.password)
		for role := range u.roles {
			say("role %s %s", id, role)
		}
	}
	for address, p := range w.pendings {
		say("pending %s %s %d%s %s", p.id, address, p.generation, if2(p.key != "", " mailed"), p.password)
	}
	for address, c := range w.logins {
		if c.failed > 0 || c.until != 0 {
			say("login %s %s%s", address, counter(c), if2(c.byOperator, " by hand"))
		}
	}
	for of, t := range w.tokens {
		say("link %s %s %s%s", of.userID, of.mail, t.newAddress, if2(t.key != "", " mailed"))
	}
	for _, d := range w.devices {
		say("device %s %s", d.userID, counter(d.hCounter))
	}
	for by, r := range w.requests {
		say("request %s %s %s%s", r.id, by.address, by.mail, if2(r.answered, " answered"))
	}
	for kind, n := range w.outbox {
		say("outbox %s %d", kind, n)
	}
	for action, n := range w.audit {
		if action != "" {
			say("audit %s %d", action, n)
		}
	}
	for _, address := range historyAddresses() {
		say("%s is %s, locked %v", address, w.standing(address), w.locked(address))
	}
	slices.Sort(lines)
	return lines
}

// check holds the database to the model, and every key that there ever was.
func (h *history[Tx]) check() {
	if diff := cmp.Diff(h.expect(h.w), h.observe()); diff != "" {
		h.t.Fatalf("the database is not what the model says (-want +got):\n%s", diff)
	}
	err := h.DB.InTx(h.t.Context(), func(tx Tx) error {
		for _, key := range lastOf(h.keys, 3) {
			_, err := h.DB.ActivatePending(h.t.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash(key)})
			h.agree(err, h.w.copy().activate(key))
		}
		for mail, keys := range h.links {
			for _, key := range lastOf(keys, 3) {
				owner, err := h.DB.TokenUser(h.t.Context(), tx, mail, accounts.KeyHash(key))
				if id := h.w.holder(mail, key); owner.ID != id || err != nil && !errors.Is(err, accounts.ErrUnknownToken) {
					h.t.Fatalf("a link of %s is of %q, the model says %q: %v", mail, owner.ID, id, err)
				}
			}
		}
		return errRollback
	})
	h.agree(err, errRollback)
}

func lastOf[T any](all []T, n int) []T { return all[max(0, len(all)-n):] }

// soundAudit links what was entered, and holds the chain to it.
func (h *history[Tx]) soundAudit() {
	for {
		n, err := h.DB.ChainAudit(h.t.Context(), 1000)
		h.must(err)
		if n == 0 {
			break
		}
	}
	head, err := audit.Verify(h.t.Context(), h.DB, audit.Head{})
	h.must(err)
	if want := h.scalar("SELECT count(*) FROM audit_log"); fmt.Sprint(head.Position) != want {
		h.t.Fatalf("the chain has %d links, the log %s entries", head.Position, want)
	}
	total := 0
	for action, n := range h.w.audit {
		if action != "" {
			total += n
		}
	}
	if want := h.scalar("SELECT count(*) FROM audit_log WHERE id > " + h.audit); fmt.Sprint(total) != want {
		h.t.Fatalf("the log has %s entries, the model %d", want, total)
	}
}

// userIDs are those of the model, in order.
func (h *history[Tx]) userIDs() []string { return slices.Sorted(maps.Keys(h.w.users)) }
