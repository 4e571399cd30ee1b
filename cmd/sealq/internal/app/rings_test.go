package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/signing"
)

// log keeps what is logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// keeper is one of a process of that name, which makes rounds quickly.
func (s *system) keeper(t *testing.T, process string, keys *signing.Keys, l *log) *app.RingKeeper {
	t.Helper()
	k, err := app.NewRingKeeper(s.db, app.RingKeeperConfig{
		Keys: keys, Process: process, Every: 50 * time.Millisecond, Notice: 5 * time.Millisecond, Logger: l.logger(),
	})
	check(t, err)
	return k
}

// running runs a part until the test ends, or the function that it returns is called.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); check(t, <-ended) })
	t.Cleanup(stop)
	return stop
}

// move makes a move of the ring in the system's file.
func (s *system) move(t *testing.T, move func(r *signing.Ring) (*signing.Ring, error)) *signing.Ring {
	t.Helper()
	ring, err := signing.NewFile(s.ringFile).Update(t.Context(), move)
	check(t, err)
	check(t, s.keys.Reload(t.Context()))
	return ring
}

// report is what the process says now, nil if it says nothing.
func (s *system) report(t *testing.T, process string) *signing.Report {
	t.Helper()
	reports, err := s.db.RingReports(t.Context(), signing.ReportsCount)
	check(t, err)
	for _, r := range reports {
		if r.Process == process {
			return &r
		}
	}
	return nil
}

func TestAProcessJoinsThoseThatAgreeAndReportsItsRing(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		one := s.keeper(t, "host/1", s.keys, &log{})
		check(t, one.Join(t.Context()))
		want := s.keys.Report("host/1")
		got := s.report(t, "host/1")
		if got == nil {
			t.Fatal("it has not reported")
		}
		want.SeenAt = got.SeenAt
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}

		// Started anew under its own name it is not its own foe; another with its audience is welcome.
		check(t, one.Join(t.Context()))
		check(t, s.keeper(t, "host/2", s.open(t, "test", time.Now), &log{}).Join(t.Context()))

		// One of another audience is refused, and leaves no report for others to disagree with.
		err := s.keeper(t, "host/3", s.open(t, "another", time.Now), &log{}).Join(t.Context())
		disagreement, ok := errors.AsType[*signing.DisagreementError](err)
		if !ok {
			t.Fatalf("want a DisagreementError, got %v", err)
		}
		if diff := cmp.Diff([]string{"host/1", "host/2"}, disagreement.Processes); diff != "" {
			t.Errorf("processes (-want +got):\n%s", diff)
		}
		if r := s.report(t, "host/3"); r != nil {
			t.Errorf("it was refused and has reported %v", r)
		}

		// What has ended in order stands in nobody's way.
		check(t, one.Leave(t.Context()))
		check(t, s.keeper(t, "host/2", s.keys, &log{}).Leave(t.Context()))
		check(t, s.keeper(t, "host/3", s.open(t, "another", time.Now), &log{}).Join(t.Context()))
	})
}

func TestAChangeOfTheRingIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		k, err := app.NewRingKeeper(s.db, app.RingKeeperConfig{Keys: s.keys, Process: "host/1", Every: time.Hour, Notice: time.Millisecond})
		check(t, err)
		running(t, k.Run)
		eventually(t, "the first report", func() bool { return s.report(t, "host/1") != nil })
		s.move(t, func(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(time.Now(), nil) })
		eventually(t, "the report of version 2", func() bool { return s.report(t, "host/1").Version == 2 })
		highest, err := s.db.HighestRingVersion(t.Context())
		check(t, err)
		if highest != 2 {
			t.Errorf("want the highest version 2, got %d", highest)
		}
	})
}

func TestAProcessThatDisagreesInMidRunIsToldOfOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		l := &log{}
		k := s.keeper(t, "host/1", s.keys, l)
		running(t, k.Run)
		eventually(t, "the first report", func() bool { return s.report(t, "host/1") != nil })
		check(t, s.db.ReportRing(t.Context(), s.open(t, "another", time.Now).Report("host/2")))
		eventually(t, "the disagreement", func() bool { return k.Disagreement() != nil })
		if diff := cmp.Diff([]string{"host/2"}, k.Disagreement().Processes); diff != "" {
			t.Errorf("processes (-want +got):\n%s", diff)
		}
		seen := s.report(t, "host/1").SeenAt
		eventually(t, "two rounds more", func() bool { return s.report(t, "host/1").SeenAt.Sub(seen) > 100*time.Millisecond })
		l.mu.Lock()
		if n := strings.Count(l.text.String(), "ring differs from others'"); n != 1 {
			t.Errorf("want it logged once, got %d", n)
		}
		l.mu.Unlock()
		check(t, s.db.ReportRing(t.Context(), s.keys.Report("host/2")))
		eventually(t, "agreement", func() bool { return k.Disagreement() == nil })
	})
}

// mailsTo are the keys in the links that an address was sent, in order.
func (s *system) mailsTo(address string) []catcher.Caught {
	var all []catcher.Caught
	for _, m := range s.mails.Messages() {
		if slices.Contains(m.To, address) {
			all = append(all, m)
		}
	}
	return all
}

func TestLinksOfARevokedKeyAreVoidedOnceNoProcessIsBehind(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		s.work(t)
		const ada = "ada@example.org"
		s.register(t, ada)
		eventually(t, "the mail is recorded", func() bool { return s.sentAt(t, ada) })
		leaked := s.keys.Infos()[0].KID

		behind := s.keys.Report("slow/1") // a host that has not got the new ring yet would make the same link again
		check(t, s.db.ReportRing(t.Context(), behind))
		s.move(t, func(r *signing.Ring) (*signing.Ring, error) {
			return r.RevokeActive(leaked, signing.KID{}, time.Now())
		})
		running(t, s.keeper(t, "host/1", s.keys, &log{}).Run)
		eventually(t, "a report", func() bool { return s.report(t, "host/1") != nil })
		first := s.report(t, "host/1").SeenAt
		eventually(t, "rounds, and time for a mail", func() bool { return s.report(t, "host/1").SeenAt.Sub(first) > 500*time.Millisecond })
		if n := len(s.mailsTo(ada)); n != 1 {
			t.Fatalf("while a process is behind: want the one mail, got %d", n)
		}

		check(t, s.db.ReportRing(t.Context(), s.keys.Report("slow/1")))
		eventually(t, "the second mail", func() bool { return len(s.mailsTo(ada)) == 2 && s.sentAt(t, ada) })
		s.onlyTheLastLinkIsGood(t, ada)
	})
}

func (s *system) sentAt(t *testing.T, address string) bool {
	t.Helper()
	status, err := s.accounts.Show(t.Context(), address)
	check(t, err)
	return status.SentAt != nil
}

func TestRenewKeysTakesAsManyBatchesAsItNeeds(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		s.work(t)
		all := people(230)
		for _, address := range all {
			s.register(t, address)
		}
		for _, address := range all {
			eventually(t, "the mail to "+address, func() bool { return s.sentAt(t, address) })
		}
		leaked := s.keys.Infos()[0].KID
		s.move(t, func(r *signing.Ring) (*signing.Ring, error) {
			return r.RevokeActive(leaked, signing.KID{}, time.Now())
		})
		kid := leaked.String()
		rows, err := s.db.RowsNeedingKey(t.Context(), kid)
		check(t, err)
		if rows != 0 {
			t.Errorf("all mails are out: want no row that needs the key, got %d", rows)
		}
		n, err := s.db.RenewKeys(t.Context(), kid)
		check(t, err)
		if n != len(all) {
			t.Errorf("want %d renewed, got %d", len(all), n)
		}
		if n, err := s.db.RenewKeys(t.Context(), "00000000"); n != 0 || err != nil {
			t.Errorf("a key that made no link: want 0, got %d, %v", n, err)
		}
	})
}

// inDatabase puts a ring into the system's database.
func (s *system) inDatabase(t *testing.T) *signing.Database {
	t.Helper()
	vault, err := signing.NewDatabase(s.db, signing.NewSecret())
	check(t, err)
	ring, err := signing.NewRing(time.Now(), time.Hour)
	check(t, err)
	check(t, vault.Create(t.Context(), ring))
	return vault
}

// process is a worker process as far as its ring goes: it reads the ring and reports it.
func (s *system) process(t *testing.T, name string, source signing.Source) *signing.Keys {
	t.Helper()
	keys, err := signing.OpenWith(t.Context(), source, "test", signing.Options{Poll: 20 * time.Millisecond})
	check(t, err)
	t.Cleanup(keys.Close)
	keeper := s.keeper(t, name, keys, &log{})
	check(t, keeper.Join(t.Context()))
	running(t, keeper.Run)
	return keys
}

func (s *system) rotator(t *testing.T, name string, vault *signing.Database, keys *signing.Keys, p signing.RotationPolicy, l *log) *app.Rotator {
	t.Helper()
	r, err := app.NewRotator(s.db, app.RotatorConfig{
		Ring: vault, Keys: keys, Policy: p, Process: name, Look: 10 * time.Millisecond, Logger: l.logger(),
	})
	check(t, err)
	return r
}

func TestKeysRotateByPolicyOnceHoweverManyWouldRotateThem(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		policy := signing.RotationPolicy{Every: 500 * time.Millisecond, Ahead: 200 * time.Millisecond}
		vault := s.inDatabase(t)
		for i := range 3 {
			name := fmt.Sprintf("host/%d", i)
			running(t, s.rotator(t, name, vault, s.process(t, name, vault), policy, &log{}).Run)
		}
		var ring *signing.Ring
		eventually(t, "five keys, and the last of them active", func() bool {
			var err error
			ring, err = vault.Load(t.Context())
			check(t, err)
			keys := ring.Keys()
			return len(keys) >= 5 && keys[4].State != signing.Published
		})
		keys := ring.Keys()
		for i, k := range keys[1:5] {
			if signed := k.SignFrom.Sub(keys[i].SignFrom); signed < policy.Every {
				t.Errorf("key %d signed for %v, less than %v", i, signed, policy.Every)
			}
			if known := k.SignFrom.Sub(k.CreatedAt); known < policy.Ahead {
				t.Errorf("key %d was published for %v, less than %v", i+1, known, policy.Ahead)
			}
			if keys[i].State != signing.Retiring {
				t.Errorf("key %d is %s, not retiring", i, keys[i].State)
			}
		}
	})
}

func TestARotationWaitsForTheProcessThatDoesNotKnowTheKey(t *testing.T) {
	t.Parallel()
	onBoth(t, func(s *system) {
		t := s.t
		vault, l := s.inDatabase(t), &log{}
		keys := s.process(t, "host/1", vault)
		slow := keys.Report("slow/1")
		check(t, s.db.ReportRing(t.Context(), slow))
		policy := signing.RotationPolicy{Every: 100 * time.Millisecond, Ahead: 10 * time.Millisecond}
		stop := running(t, s.rotator(t, "host/1", vault, keys, policy, l).Run)
		eventually(t, "it waits, and says for whom", func() bool { return l.has("key rotation waits") && l.has("slow/1") })
		ring, err := vault.Load(t.Context())
		check(t, err)
		if got := ring.Keys(); len(got) != 2 || got[1].State != signing.Published {
			t.Errorf("want the second key published, got %v", got)
		}
		check(t, s.db.ReportRing(t.Context(), slow.Leaving()))
		eventually(t, "the second key signs", func() bool {
			ring, err := vault.Load(t.Context())
			check(t, err)
			return ring.Keys()[1].State != signing.Published
		})

		// Who stops gives the lease back.
		stop()
		mine, err := s.db.TakeLease(t.Context(), "ring rotation", "host/9", time.Minute)
		check(t, err)
		if !mine {
			t.Error("the lease was not given back")
		}
		// Who has it not does nothing, though a rotation is due.
		held, err := vault.Load(t.Context())
		check(t, err)
		seen := s.report(t, "host/1").SeenAt
		stop = running(t, s.rotator(t, "host/1", vault, keys, policy, l).Run)
		eventually(t, "time for three rotations", func() bool { return s.report(t, "host/1").SeenAt.Sub(seen) > 3*policy.Every })
		stop()
		after, err := vault.Load(t.Context())
		check(t, err)
		if after.Version() != held.Version() {
			t.Errorf("without the lease it went from version %d to %d", held.Version(), after.Version())
		}
	})
}
