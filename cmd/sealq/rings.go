package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/health"
	"github.com/sealq/sealq/signing"
)

const (
	// ringStale is the age at which a ring that its source does not confirm signs nothing any more.
	ringStale = 4 * time.Minute
	// leavePatience is how long taking leave of the other processes may take.
	leavePatience = 5 * time.Second
)

// openRings opens the ring for as long as the process lives. A worker compares it with the other processes' first.
func (s *session) openRings(ctx context.Context, p plan, db app.Database, sv *service) (*signing.Keys, error) {
	source := p.keys.place.source
	var vault *signing.Database
	if source == nil {
		var err error
		if vault, err = p.keys.place.inDatabase(db); err != nil {
			return nil, err
		}
		source = vault
	}
	seen, err := db.HighestRingVersion(ctx)
	if err != nil {
		return nil, err
	}
	// What is open outlives ctx: running tasks finish after it has ended.
	keys, err := s.openKeysWith(context.WithoutCancel(ctx), source, p.keys.audience, signing.Options{MinVersion: seen, OnSigned: sv.tally.Signed})
	if err != nil {
		return nil, err
	}
	sv.closes(func() error { keys.Close(); return nil })
	sv.facts = append(sv.facts, slog.Uint64("ring_version", keys.Version()))
	check := health.Check{
		Name: "keys", Probe: func(context.Context) error { return s.confirmed(keys) },
		Detail: func() string { return describe(keys) },
	}
	if p.worker != nil {
		keeper, err := s.join(ctx, db, keys, sv)
		if err != nil {
			return nil, err
		}
		sv.agreement = func() error {
			if disagreement := keeper.Disagreement(); disagreement != nil {
				return disagreement
			}
			return nil
		}
		check.Detail = func() string {
			if disagreement := keeper.Disagreement(); disagreement != nil {
				return describe(keys, disagreement)
			}
			return describe(keys)
		}
	}
	sv.checks = append(sv.checks, check)
	if p.rotation != nil {
		rotator, err := app.NewRotator(db, app.RotatorConfig{Ring: vault, Keys: keys, Policy: *p.rotation, Now: s.now, Logger: s.logger})
		if err != nil {
			return nil, err
		}
		sv.parts = append(sv.parts, part{"key rotation", rotator.Run})
	}
	return keys, nil
}

// join refuses to work beside processes with another ring or audience: either would refuse what the other signs.
func (s *session) join(ctx context.Context, db app.Database, keys *signing.Keys, sv *service) (*app.RingKeeper, error) {
	keeper, err := app.NewRingKeeper(db, app.RingKeeperConfig{Keys: keys, Logger: s.logger})
	if err != nil {
		return nil, err
	}
	if err := keeper.Join(ctx); errors.Is(err, signing.ErrDisagreement) {
		return nil, fmt.Errorf("--keys, --audience: %w; a process that was killed counts for 10 minutes", err)
	} else if err != nil {
		return nil, err
	}
	sv.closes(func() error {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leavePatience)
		defer cancel()
		if err := keeper.Leave(leaving); err != nil {
			s.logger.WarnContext(leaving, "leave not taken, this process counts for 10 minutes more", slog.Any("error", err))
		}
		return nil
	})
	sv.parts = append(sv.parts, part{"ring keeper", keeper.Run})
	return keeper, nil
}

// confirmed is the health check of the keys.
func (s *session) confirmed(keys *signing.Keys) error {
	at, err := keys.Confirmed()
	if s.now().Sub(at) <= ringStale {
		return nil
	}
	if err == nil {
		err = signing.ErrNotConfirmed
	}
	return fmt.Errorf("nothing is signed: last confirmed at %s: %w", moment(&at), err)
}

// describe says which ring is in use. What is wrong, but does not keep the process from working, stands here too.
func describe(keys *signing.Keys, problems ...error) string {
	at, err := keys.Confirmed()
	parts := []string{fmt.Sprintf("ring version %d, active key %s, confirmed at %s", keys.Version(), active(keys.Infos()), moment(&at))}
	if err != nil {
		problems = append(problems, err)
	}
	for _, problem := range problems {
		parts = append(parts, sentence(problem))
	}
	return strings.Join(parts, "; ")
}

// reloads reads the ring again at every SIGHUP, which so does not end the process.
func (s *session) reloads(keys *signing.Keys, sv *service) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	sv.closes(func() error { signal.Stop(hangups); return nil })
	sv.parts = append(sv.parts, part{"reload", func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangups:
			}
			if keys == nil {
				s.logger.InfoContext(ctx, "hangup: this process has no key ring to read again")
				continue
			}
			if keys.Reload(ctx) == nil { // what went wrong is logged by the keys
				s.logger.InfoContext(ctx, "hangup: key ring read again", slog.Uint64("version", keys.Version()))
			}
		}
	}})
}
