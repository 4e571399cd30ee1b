package operators_test

import (
	"context"
	"encoding/base32"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/store/sqlite"
)

const good = "a long enough passphrase"

// desk is operators over a database of their own, and a clock that a test moves.
type desk struct {
	*operators.Operators

	t  *testing.T
	db *sqlite.DB

	mu  sync.Mutex
	now time.Time
}

func open(t *testing.T) *desk {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "sealq.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, db: db, now: time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)}
	d.Operators, err = operators.New(db, operators.Config{
		Issuer: "sealq prod-eu", Lockout: accounts.Lockout{Limit: 3}, Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1},
		Now: func() time.Time { d.mu.Lock(); defer d.mu.Unlock(); return d.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) pass(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func (d *desk) add(name string, role operators.Role) {
	d.t.Helper()
	if err := d.Add(d.t.Context(), "cli:root", name, good, role); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) login(name, password string) (string, bool, error) {
	return d.Login(d.t.Context(), name, password, operators.From{Agent: "browser", Remote: "192.0.2.1"})
}

func (d *desk) in(name string) (token string, complete bool) {
	d.t.Helper()
	token, complete, err := d.login(name, good)
	if err != nil {
		d.t.Fatal(err)
	}
	return token, complete
}

// enrolled logs in an operator who has no factor yet, and gives him one.
func (d *desk) enrolled(name string) (secret string, recovery []string) {
	d.t.Helper()
	token, _ := d.in(name)
	p, err := d.Propose(d.t.Context(), token)
	if err != nil {
		d.t.Fatal(err)
	}
	_, recovery, err = d.Enrol(d.t.Context(), token, d.code(p.Secret), operators.From{})
	if err != nil {
		d.t.Fatal(err)
	}
	return p.Secret, recovery
}

// code is what the authenticator app shows now.
func (d *desk) code(secret string) string {
	d.t.Helper()
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return operators.CodeAt(raw, d.now)
}

func (d *desk) show(token, code string) (string, error) {
	return d.Code(d.t.Context(), token, code, operators.From{})
}

func (d *desk) wantSession(token string, want error) operators.Session {
	d.t.Helper()
	s, err := d.Session(d.t.Context(), token, true)
	if !errors.Is(err, want) {
		d.t.Fatalf("session: want %v, got %v", want, err)
	}
	return s
}

func TestCodesAreThoseOfRFC6238(t *testing.T) {
	t.Parallel()
	secret := []byte("12345678901234567890") // appendix B; its codes have eight digits, of which these are the last six
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := operators.CodeAt(secret, time.Unix(at, 0)); got != want {
			t.Errorf("at %d: want %s, got %s", at, want, got)
		}
	}
}

func TestWhoHasNoFactorAndNeedsNoneIsInAfterHisPassword(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("ann", operators.RoleOperator)
	token, complete := d.in("ann")
	s := d.wantSession(token, nil)
	if !complete || !s.Complete || s.Name != "ann" || s.Role != operators.RoleOperator {
		t.Errorf("logged in as %+v, complete %v", s, complete)
	}
	if err := d.Logout(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	d.wantSession(token, operators.ErrNoSession)
}

func TestAnAdminIsNotInBeforeHeHasAFactor(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("root", operators.RoleAdmin)
	token, complete := d.in("root")
	if s := d.wantSession(token, nil); complete || s.Complete {
		t.Fatalf("he is in: %+v", s)
	}
	if _, err := d.show(token, "000000"); !errors.Is(err, operators.ErrNoFactor) {
		t.Errorf("a code without a factor: %v", err)
	}
	first, err := d.Propose(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Propose(t.Context(), token)
	if err != nil || first != again {
		t.Errorf("a reload shows another factor: %v, %v", again, err)
	}
	u, err := url.Parse(first.URI)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/sealq prod-eu:root" || u.Query().Get("secret") != first.Secret || strings.Contains(first.URI, "+") {
		t.Errorf("the QR code says %s", first.URI)
	}
	if _, _, err := d.Enrol(t.Context(), token, "000000", operators.From{}); !errors.Is(err, operators.ErrRefused) {
		t.Errorf("a wrong first code: %v", err)
	}
	fresh, recovery, err := d.Enrol(t.Context(), token, d.code(first.Secret), operators.From{})
	if err != nil {
		t.Fatal(err)
	}
	if s := d.wantSession(fresh, nil); !s.Complete || !s.Factor || len(recovery) != 10 || fresh == token {
		t.Errorf("enrolled: %+v with %d codes", s, len(recovery))
	}
	d.wantSession(token, operators.ErrNoSession) // it is a fresh one
}

func TestNoFactorIsEnrolledThatWasNotShown(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("root", operators.RoleAdmin)
	// A form that stood open since another session comes with this one, to which no secret was shown yet.
	token, _ := d.in("root")
	known := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(make([]byte, 20))
	if _, _, err := d.Enrol(t.Context(), token, d.code(known), operators.From{}); !errors.Is(err, operators.ErrRefused) {
		t.Errorf("a secret that everybody knows was enrolled: %v", err)
	}
	if p, err := d.Propose(t.Context(), token); err != nil || p.Secret == known {
		t.Errorf("the secret that is shown is %s, %v", p.Secret, err)
	}
}

func TestACodeIsTakenOnceAndInItsTime(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("ann", operators.RoleViewer)
	secret, _ := d.enrolled("ann")
	d.pass(time.Minute)
	used := d.code(secret)
	token, complete := d.in("ann")
	if complete {
		t.Fatal("no code was wanted")
	}
	planted := token
	token, err := d.show(token, " "+used[:3]+" "+used[3:]+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if s := d.wantSession(token, nil); !s.Complete || token == planted {
		t.Errorf("logged in: %+v", s)
	}
	d.wantSession(planted, operators.ErrNoSession)

	token, _ = d.in("ann")
	if _, err := d.show(token, used); !errors.Is(err, operators.ErrRefused) {
		t.Errorf("taken twice: %v", err)
	}
	d.pass(90 * time.Second)
	late := d.code(secret)
	d.pass(61 * time.Second)
	if _, err := d.show(token, late); !errors.Is(err, operators.ErrRefused) {
		t.Errorf("taken late: %v", err)
	}
	early := func() string { d.pass(29 * time.Second); defer d.pass(-29 * time.Second); return d.code(secret) }()
	if _, err := d.show(token, early); err != nil {
		t.Errorf("the next one, of a clock that is fast: %v", err)
	}
}

func TestRecoveryCodesAreTakenOnceHoweverTheyAreTyped(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("ann", operators.RoleViewer)
	_, recovery := d.enrolled("ann")
	token, _ := d.in("ann")
	if _, err := d.show(token, " "+strings.ToUpper(strings.ReplaceAll(recovery[3], "-", " "))); err != nil {
		t.Fatal(err)
	}
	token, _ = d.in("ann")
	if _, err := d.show(token, recovery[3]); !errors.Is(err, operators.ErrRefused) {
		t.Errorf("taken twice: %v", err)
	}
}

func TestFailuresLockTheNameWhetherOrNotThereIsSuchAnOperator(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("ann", operators.RoleViewer)
	for _, name := range []string{"ann", "nobody"} {
		for range 3 {
			if _, _, err := d.login(name, "wrong"); !errors.Is(err, operators.ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := d.login(name, good); !errors.Is(err, operators.ErrRefused) {
			t.Errorf("%s, locked: %v", name, err)
		}
	}
	if _, err := d.ResetFactor(t.Context(), "cli:root", "ann"); err != nil {
		t.Fatal(err)
	}
	d.in("ann")
}

func TestGuessesOfACodeLockItAcrossSessions(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("ann", operators.RoleViewer)
	secret, _ := d.enrolled("ann")
	d.pass(time.Minute)
	for range 3 {
		token, _ := d.in("ann") // a right password does not clear it
		if _, err := d.show(token, "000000"); !errors.Is(err, operators.ErrRefused) {
			t.Errorf("a guess: %v", err)
		}
	}
	token, _ := d.in("ann")
	if _, err := d.show(token, d.code(secret)); !errors.Is(err, operators.ErrRefused) {
		t.Errorf("locked: %v", err)
	}
}

func TestOfManyGuessesAtOnceNoMoreThanTheLimitAreLookedAt(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("ann", operators.RoleViewer)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _, _, _ = d.login("ann", "wrong") })
	}
	wg.Wait()
	if _, _, err := d.login("ann", good); !errors.Is(err, operators.ErrRefused) {
		t.Errorf("locked: %v", err)
	}
}

func TestWhoIsChangedIsOut(t *testing.T) {
	t.Parallel()
	for sentence, c := range map[string]struct {
		change func(ctx context.Context, d *desk) (bool, error)
		again  error
	}{
		"another role": {func(ctx context.Context, d *desk) (bool, error) {
			return d.SetRole(ctx, "cli:root", "ann", operators.RoleViewer)
		}, nil},
		"disabled": {func(ctx context.Context, d *desk) (bool, error) { return d.SetDisabled(ctx, "cli:root", "ann", true) }, operators.ErrRefused},
		"factor reset": {func(ctx context.Context, d *desk) (bool, error) {
			return d.ResetFactor(ctx, "cli:root", "ann")
		}, nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.add("ann", operators.RoleOperator)
			token, _ := d.in("ann")
			changed, err := c.change(t.Context(), d)
			if err != nil || !changed {
				t.Fatalf("changed %v, %v", changed, err)
			}
			d.wantSession(token, operators.ErrNoSession)
			if _, _, err := d.login("ann", good); !errors.Is(err, c.again) {
				t.Errorf("logging in again: want %v, got %v", c.again, err)
			}
		})
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("ann", operators.RoleViewer)
	for sentence, c := range map[string]struct {
		actor, name, password string
		role                  operators.Role
		want                  error
	}{
		"a taken name":                {"cli:root", "ann", good, operators.RoleViewer, operators.ErrNameTaken},
		"no name":                     {"cli:root", "", good, operators.RoleViewer, operators.ErrInvalidName},
		"capitals":                    {"cli:root", "Ann", good, operators.RoleViewer, operators.ErrInvalidName},
		"a colon":                     {"cli:root", "a:b", good, operators.RoleViewer, operators.ErrInvalidName},
		"a name that begins with one": {"cli:root", "-ann", good, operators.RoleViewer, operators.ErrInvalidName},
		"a long name":                 {"cli:root", strings.Repeat("a", 65), good, operators.RoleViewer, operators.ErrInvalidName},
		"no role":                     {"cli:root", "bob", good, "", operators.ErrInvalidRole},
		"another role":                {"cli:root", "bob", good, "root", operators.ErrInvalidRole},
		"nobody does it":              {"", "bob", good, operators.RoleViewer, operators.ErrNoActor},
		"a short password":            {"cli:root", "bob", "short", operators.RoleViewer, accounts.ErrInvalidPassword},
		"a password that is the name": {"cli:root", "barbara-b", "Barbara-B", operators.RoleViewer, accounts.ErrInvalidPassword},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			if err := d.Add(t.Context(), c.actor, c.name, c.password, c.role); !errors.Is(err, c.want) {
				t.Errorf("want %v, got %v", c.want, err)
			}
		})
	}
	for _, token := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 1<<20)} {
		d.wantSession(token, operators.ErrNoSession)
	}
}

func TestKeysOfScripts(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add("ann", operators.RoleOperator)
	token, _ := d.in("ann")
	s := d.wantSession(token, nil)
	secret, err := d.NewKey(t.Context(), s, " backup ", operators.RoleViewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	k, err := d.Key(t.Context(), secret)
	if err != nil || k.Name != "backup" || k.Role != operators.RoleViewer || k.Operator != "ann" {
		t.Errorf("the key is %+v, %v", k, err)
	}
	for _, other := range []string{"", "sealqk_", secret + "x", secret[:len(secret)-1] + "!", token} {
		if _, err := d.Key(t.Context(), other); !errors.Is(err, operators.ErrNoKey) {
			t.Errorf("%.10q: %v", other, err)
		}
	}
	if revoked, err := d.RevokeKey(t.Context(), s, k); err != nil || !revoked {
		t.Errorf("revoked %v, %v", revoked, err)
	}
	if _, err := d.Key(t.Context(), secret); !errors.Is(err, operators.ErrNoKey) {
		t.Errorf("a revoked key: %v", err)
	}
	secret, err = d.NewKeyFor(t.Context(), "cli:root", "ann", "prometheus", operators.RoleViewer, time.Hour)
	if k, keyErr := d.Key(t.Context(), secret); err != nil || keyErr != nil || k.Operator != "ann" || k.Name != "prometheus" {
		t.Errorf("a key from the command line: %+v, %v, %v", k, err, keyErr)
	}
	for _, c := range []struct {
		actor, operator string
		want            error
	}{{"", "ann", operators.ErrNoActor}, {"cli:root", "nobody", operators.ErrNoSuchOperator}} {
		if _, err := d.NewKeyFor(t.Context(), c.actor, c.operator, "prometheus", operators.RoleViewer, time.Hour); !errors.Is(err, c.want) {
			t.Errorf("for %q by %q: want %v, got %v", c.operator, c.actor, c.want, err)
		}
	}
	for _, c := range []struct {
		name string
		role operators.Role
		life time.Duration
	}{{"", operators.RoleViewer, time.Hour}, {"a\x1b", operators.RoleViewer, time.Hour}, {"a", operators.RoleAdmin, time.Hour}, {"a", operators.RoleViewer, time.Second}, {"a", operators.RoleViewer, 9000 * time.Hour}} {
		if _, err := d.NewKey(t.Context(), s, c.name, c.role, c.life); !errors.Is(err, operators.ErrInvalidKey) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
