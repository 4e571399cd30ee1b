package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/signing"
)

// Rings is what a database knows of key rings: one that it keeps wrapped, and what processes say of theirs.
type Rings interface {
	signing.Vault
	// ReportRing keeps what a process says of its ring, in place of what it said before.
	ReportRing(ctx context.Context, r signing.Report) error
	// RingReports lists the reports that came in within that time.
	RingReports(ctx context.Context, within time.Duration) ([]signing.Report, error)
	// HighestRingVersion is the highest version that was ever saved or reported.
	HighestRingVersion(ctx context.Context) (uint64, error)
	// TakeLease says whether holder has the lease now, for that long.
	TakeLease(ctx context.Context, name, holder string, length time.Duration) (bool, error)
	// RowsNeedingKey counts what needs the key to be finished.
	RowsNeedingKey(ctx context.Context, kid string) (int, error)
}

// renewBatch is how many registrations one transaction renews: it locks them.
const renewBatch = 100

// RenewKeys voids the unused links of a key and asks for their mails anew. It ends with the first batch that is not full, so that
// it does not race workers that have not heard of the revocation and go on making links with the key.
func (d database[Tx]) RenewKeys(ctx context.Context, kid string) (int, error) {
	a, err := accounts.New(d.backend, authjobs.NewNotifier(d.backend), accounts.Config{})
	if err != nil {
		return 0, err
	}
	for all := 0; ; {
		n := 0
		err := d.InTx(ctx, func(tx Tx) (err error) {
			n, err = a.RenewKeys(ctx, tx, kid, renewBatch)
			return err
		})
		if err != nil {
			return all, err
		}
		if all += n; n < renewBatch {
			return all, nil
		}
	}
}

// ProcessName is what this process is called in its reports: host and process ID.
func ProcessName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this process: %w", err)
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid()), nil
}

// RingKeeperConfig of a RingKeeper.
type RingKeeperConfig struct {
	// Keys are this process's.
	Keys *signing.Keys
	// Process names it. Zero: ProcessName.
	Process string
	// Every is the pause between two rounds. Zero: 1 minute. A report counts for signing.ReportsCount.
	Every time.Duration
	// Notice is how soon a change of the ring is seen, which makes a round at once. Zero: 1 s.
	Notice time.Duration
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// RingKeeper tells other processes which ring this one has, looks whether theirs is the same, and voids the unused links of
// revoked keys: one that a worker made with a key that was revoked meanwhile is found in a later round. It does so only when no
// process has an older ring: such a one would make the next link with the same key, round after round, and mail each.
type RingKeeper struct {
	db       Database
	cfg      RingKeeperConfig
	disagree atomic.Pointer[signing.DisagreementError] // nil: all agree
}

// NewRingKeeper needs a database and keys.
func NewRingKeeper(db Database, c RingKeeperConfig) (_ *RingKeeper, err error) {
	if db == nil || c.Keys == nil {
		return nil, errors.New("new ring keeper: it needs a database and keys")
	}
	if c.Process == "" {
		if c.Process, err = ProcessName(); err != nil {
			return nil, err
		}
	}
	c.Every, c.Notice = orDefault(c.Every, time.Minute), orDefault(c.Notice, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &RingKeeper{db: db, cfg: c}, nil
}

// Join compares the ring with those of the processes that are at work, and reports it if they agree. Otherwise the error is
// a signing.DisagreementError, and this process must not work.
func (k *RingKeeper) Join(ctx context.Context) error {
	if _, err := k.compare(ctx); err != nil {
		return err
	}
	return k.report(ctx)
}

// Leave tells that this process has ended, so that nobody waits for it.
func (k *RingKeeper) Leave(ctx context.Context) error {
	return k.db.ReportRing(ctx, k.cfg.Keys.Report(k.cfg.Process).Leaving())
}

// Disagreement says whose ring was another one when last compared, nil if nobody's was.
func (k *RingKeeper) Disagreement() *signing.DisagreementError { return k.disagree.Load() }

// Run makes rounds until ctx ends, then returns nil. Trouble with the database is logged and tried again.
func (k *RingKeeper) Run(ctx context.Context) error {
	every, notice := time.NewTicker(k.cfg.Every), time.NewTicker(k.cfg.Notice)
	defer every.Stop()
	defer notice.Stop()
	for {
		version := k.cfg.Keys.Version()
		if err := k.round(ctx); err != nil && ctx.Err() == nil {
			k.cfg.Logger.ErrorContext(ctx, "ring not compared with the others', trying again", slog.Any("error", err))
		}
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				return nil
			case <-every.C:
				changed = true
			case <-notice.C:
				changed = k.cfg.Keys.Version() != version
			}
		}
	}
}

func (k *RingKeeper) round(ctx context.Context) error {
	before := k.disagree.Load()
	others, err := k.compare(ctx)
	if now := k.disagree.Load(); now != nil && (before == nil || !slices.Equal(before.Processes, now.Processes)) {
		k.cfg.Logger.ErrorContext(ctx, "ring differs from others'", slog.Any("error", now))
	}
	if errors.Is(err, signing.ErrDisagreement) {
		err = nil // told
	}
	err = errors.Join(err, k.report(ctx))
	if err != nil || k.behind(others) {
		return err
	}
	return k.voidRevoked(ctx)
}

// behind says whether one of the others has an older ring.
func (k *RingKeeper) behind(others []signing.Report) bool {
	version := k.cfg.Keys.Version()
	return slices.ContainsFunc(others, func(r signing.Report) bool { return r.Version < version && !r.Ended() })
}

func (k *RingKeeper) report(ctx context.Context) error {
	return k.db.ReportRing(ctx, k.cfg.Keys.Report(k.cfg.Process))
}

// compare returns what the others report, and a signing.DisagreementError if their rings are other ones.
func (k *RingKeeper) compare(ctx context.Context) ([]signing.Report, error) {
	others, err := k.db.RingReports(ctx, signing.ReportsCount)
	if err != nil {
		return nil, err
	}
	others = slices.DeleteFunc(others, func(r signing.Report) bool { return r.Process == k.cfg.Process })
	err = k.cfg.Keys.Agrees(others)
	disagreement, _ := errors.AsType[*signing.DisagreementError](err)
	k.disagree.Store(disagreement)
	return others, err
}

// voidRevoked voids what every revoked key still has out there. Where there is nothing, it writes nothing.
func (k *RingKeeper) voidRevoked(ctx context.Context) error {
	var errs []error
	for _, key := range k.cfg.Keys.Infos() {
		if key.State != signing.Revoked {
			continue
		}
		n, err := k.db.RenewKeys(ctx, key.KID.String())
		if n > 0 {
			k.cfg.Logger.WarnContext(ctx, "unused links of a revoked key voided, and mailed anew", slog.String("kid", key.KID.String()), slog.Int("links", n))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
