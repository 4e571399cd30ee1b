package seed

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/requests"
	"github.com/sealq/sealq/signing"
)

// The operators. dora has left.
const (
	viewer   = "vera"
	operator = "otto"
	admin    = "anna"
	left     = "dora"
)

// operated is what otto does to accounts.
type operated struct {
	app.Operator
	ctx context.Context //nolint:containedctx // of one call
}

func (s *story) byHand(do func(operated) error) func(context.Context) error {
	return func(ctx context.Context) error {
		return do(operated{s.users.Operator(operators.Actor(operator)), ctx})
	}
}

// staff are the operators' events.
func (s *story) staff() []event {
	random := make([]byte, 15)
	_, _ = rand.Read(random) // never fails (crypto/rand)
	s.told = Told{
		Viewer: viewer, Operator: operator, Admin: admin, Address: ada, UserPassword: userPassword + "!",
		Password: strings.ToLower(base32.StdEncoding.EncodeToString(random)),
	}
	return []event{
		{Day - 10*time.Minute, func(ctx context.Context) error {
			for _, o := range []struct {
				name string
				role operators.Role
			}{{admin, operators.RoleAdmin}, {operator, operators.RoleOperator}, {viewer, operators.RoleViewer}, {left, operators.RoleOperator}} {
				if err := s.ops.Add(ctx, "cli:root", o.name, s.told.Password, o.role); err != nil {
					return err
				}
			}
			return nil
		}},
		{12 * time.Hour, func(ctx context.Context) error {
			_, err := s.ops.SetDisabled(ctx, operators.Actor(admin), left, true)
			return err
		}},
		{11 * time.Hour, s.comesIn(operator, "192.0.2.7", 30*24*time.Hour)},
		{50 * time.Minute, s.comesIn(viewer, "192.0.2.19", 0)},
		{40 * time.Minute, s.comesIn(operator, "192.0.2.7", 0)},
		{35 * time.Minute, func(ctx context.Context) error {
			return s.db.Unsuppress(ctx, operators.Actor(operator), mustEmail("max"+goneDomain))
		}},
		{0, s.askFor(requests.Purge, map[string]string{"reason": string(signing.ReasonMalformed)})},
		{0, s.release},
	}
}

// comesIn logs somebody in, who makes a key for his script where it is to live.
func (s *story) comesIn(name, remote string, key time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		token, _, err := s.ops.Login(ctx, name, s.told.Password, operators.From{Agent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/148.0", Remote: remote})
		if err != nil || key == 0 {
			return err
		}
		session, err := s.ops.Session(ctx, token, true)
		if err != nil {
			return err
		}
		_, err = s.ops.NewKey(ctx, session, "nightly report", operators.RoleViewer, key)
		return err
	}
}

// askFor asks for what no page may do, as otto, and carries it out.
func (s *story) askFor(kind requests.Kind, args map[string]string) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := requests.New(kind, operators.Actor(operator), args)
		if err != nil {
			return err
		}
		if err := s.db.MakeRequest(ctx, r, requests.Life); err != nil {
			return err
		}
		carrier, err := app.NewCarrier(s.db, app.CarrierConfig{Keys: s.keys, Process: "seed", Now: s.clock.now})
		if err != nil {
			return err
		}
		return carrier.Carry(ctx)
	}
}

// release gives the job another chance that was signed with arguments of a kind that the worker did not know.
func (s *story) release(ctx context.Context) error {
	entries, err := s.db.RefusedPage(ctx, quarantine.Query{Reason: string(signing.ReasonExpired)}, 1)
	if err != nil || len(entries) == 0 {
		return errors.Join(err, errors.New("nothing in quarantine can be released"))
	}
	return s.askFor(requests.Release, quarantine.Filter{IDs: []string{entries[0].ID}}.Args())(ctx)
}

// keyMoves rotate the key, and revoke one that leaked.
func (s *story) keyMoves() []event {
	move := func(action string, change func(*signing.Ring) (*signing.Ring, error)) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := s.db.Record(ctx, audit.Entry{Actor: operators.Actor(admin), Action: action, Subject: "keys"}); err != nil {
				return err
			}
			if _, err := s.cfg.Stack.Ring.Update(ctx, change); err != nil {
				return err
			}
			return s.keys.Reload(ctx)
		}
	}
	rotate := move(string(requests.Rotate), func(r *signing.Ring) (*signing.Ring, error) { return r.Rotate(s.clock.now(), nil) })
	promote := move(string(requests.Promote), func(r *signing.Ring) (*signing.Ring, error) { return r.Promote(r.Successor(), s.clock.now(), 0) })
	var leaked signing.KID
	revoke := move(string(requests.Revoke), func(r *signing.Ring) (*signing.Ring, error) {
		for _, k := range r.Keys() {
			if k.State == signing.Active {
				leaked = k.KID
			}
		}
		return r.RevokeActive(leaked, r.Successor(), s.clock.now())
	})
	return []event{
		{21 * time.Hour, rotate},
		{20 * time.Hour, promote},
		{6*time.Hour + 10*time.Minute, func(ctx context.Context) error {
			if err := revoke(ctx); err != nil {
				return err
			}
			_, err := s.db.RenewKeys(ctx, leaked.String())
			return err
		}},
		{25 * time.Minute, rotate},
	}
}

// often is a schedule that somebody added, and whose missed ticks are not made up for.
const (
	often      = "expire-often"
	oftenAdded = Day - 30*time.Minute
	oftenEvery = 45 * time.Minute
)

// scheduleLife starts and stops the scheduler, and changes schedules.
func (s *story) scheduleLife() []event {
	start := func(crons app.Crons) func(context.Context) error {
		return func(ctx context.Context) error { return s.startScheduler(ctx, crons) }
	}
	add := func(p jobs.SchedulePlan) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.db.DefineSchedule(ctx, operators.Actor(operator), p, false)
			return err
		}
	}
	return []event{
		{Day - time.Minute, start(rare())},
		{oftenAdded, add(jobs.SchedulePlan{
			Name: often, Cron: "@every " + oftenEvery.String(), Kind: authjobs.KindExpirePending, Args: `{"limit":100}`, CatchUp: jobs.CatchUpSkip,
		})},
		{Day - 31*time.Minute, add(jobs.SchedulePlan{
			Name: "purge-on-sundays", Cron: "30 4 * * SUN", Zone: "Europe/Berlin", Kind: authjobs.KindPurge, Args: `{}`, CatchUp: jobs.CatchUpLatest,
		})},
		{10 * time.Hour, func(ctx context.Context) error {
			_, err := s.db.SetPaused(ctx, operators.Actor(operator), "purge-on-sundays", true)
			return err
		}},
		{stopsAgo, func(context.Context) error { return s.stopScheduler() }},
		{goesAgo, start(rare())},
		{oftenAgo + time.Second, func(context.Context) error { return s.stopScheduler() }},
		{oftenAgo, start(app.Crons{})},
		{15 * time.Minute, func(ctx context.Context) error {
			_, err := s.db.RunNow(ctx, operators.Actor(operator), string(authjobs.KindPurge))
			return err
		}},
	}
}

func mustEmail(text string) accounts.Email {
	email, err := accounts.ParseEmail(text)
	if err != nil {
		panic(fmt.Sprintf("%s is an address of this package: %v", text, err))
	}
	return email
}
