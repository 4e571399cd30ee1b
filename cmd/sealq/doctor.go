package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/doctor"
	"github.com/sealq/sealq/cmd/sealq/internal/redisurl"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/mail"
)

func (p *program) doctor() *cobra.Command {
	var adoption bool
	c := uses(&cobra.Command{
		Use: "doctor", Short: "Look at all that sealq depends on, and say what is wrong and what to do", Args: exactly(),
		Long: "Look at Redis, the queues, the database, the key ring and the mail server, each as far as it is configured, and say of each what\n" +
			"is wrong and what to do. It changes nothing, sends no mail, and ends within 15 seconds, whatever hangs. The exit code is 1 when\n" +
			"there is a problem; warnings, and what was skipped for lack of a right, leave it 0. Whoever may only work, or only enqueue, sees\n" +
			"less: the dashboard's user of `sealq redis-acl` sees the queues.\n\n" +
			"With --adoption, say instead whether an app that has asynq already may refuse unsigned tasks now: what waits unsigned, in which\n" +
			"queues, until when. No payload is decoded. The exit code is 1 while it is not safe.",
		Example: "  sealq doctor --config sealq.yaml\n  sealq doctor --adoption --redis-url redis://127.0.0.1:6379/0 --audience prod-eu",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) error {
			if adoption {
				return p.adoption(ctx, s)
			}
			return s.diagnose(ctx)
		}),
	}, "redis-url", "database-url", "keys", "kek-file", "audience", "smtp-url", "mail-from", "mail-dkim-domain", "mail-dkim-selector", "mail-dkim-key", "queues", "quarantine-budget", "quarantine-reserve", "rotate-every")
	c.Flags().BoolVar(&adoption, "adoption", false, "say whether an app that has asynq already may refuse unsigned tasks now")
	return c
}

// diagnose makes all checks of what is configured.
func (s *session) diagnose(ctx context.Context) error {
	c, err := s.doctorConfig()
	if err != nil {
		return err
	}
	r := doctor.Run(ctx, c)
	if s.json {
		err = s.printJSON(r)
	} else {
		err = r.Print(s.stdout)
	}
	if err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("doctor found %s", plural(r.Problems, "problem"))
	}
	return nil
}

// doctorConfig reads what is given. What cannot be read is a wrong use; what is not given is skipped.
func (s *session) doctorConfig() (doctor.Config, error) {
	c := doctor.Config{Now: s.now}
	server, err := s.redis()
	if err != nil {
		return c, err
	}
	c.Redis = &doctor.Redis{Server: server.Server, Given: s.Given("redis-url")}
	queues, err := s.Weights("queues")
	if err != nil {
		return c, err
	}
	c.Queues = slices.Sorted(maps.Keys(queues))
	if c.Budgets.Unverified.Bytes, c.Budgets.Unverified.Entries, err = s.Budget("quarantine-budget"); err != nil {
		return c, err
	}
	if c.Budgets.Authentic.Bytes, c.Budgets.Authentic.Entries, err = s.Budget("quarantine-reserve"); err != nil {
		return c, err
	}
	if c.Database, err = s.doctorDatabase(); err != nil {
		return c, err
	}
	if c.Keys, err = s.doctorKeys(); err != nil {
		return c, err
	}
	c.Mail, err = s.doctorMail()
	return c, err
}

func (s *session) doctorDatabase() (*doctor.Database, error) {
	text, err := s.Text("database-url")
	if err != nil || text == "" {
		return nil, err
	}
	d, err := s.database()
	if err != nil {
		return nil, err
	}
	return &doctor.Database{Where: d.where, SQLite: d.path != "", Open: func(ctx context.Context) (app.Database, error) {
		if err := d.exists(); err != nil {
			return nil, err
		}
		return d.connect(ctx)
	}}, nil
}

func (s *session) doctorKeys() (*doctor.Keys, error) {
	place, err := s.ringPlace()
	if err != nil {
		return nil, err
	}
	k := &doctor.Keys{Source: place.source, KEKFile: place.kekFile, Given: s.Given("keys")}
	if k.RotateEvery, err = s.Duration("rotate-every"); err != nil {
		return nil, err
	}
	k.Audience, err = s.Text("audience")
	return k, err
}

func (s *session) doctorMail() (*doctor.Mail, error) {
	text, err := s.Text("smtp-url")
	if err != nil || text == "" {
		return nil, err
	}
	m, err := s.mailServer()
	if err != nil {
		return nil, err
	}
	u, err := mail.ParseURL(text)
	if err != nil {
		return nil, wrongly("--smtp-url: %w", err)
	}
	return &doctor.Mail{Sender: m.Sender, Where: m.where, TLS: u.TLS, Local: !u.Insecure}, nil
}

// adoption says whether unsigned tasks may be refused. It judges as far as there are keys.
func (p *program) adoption(ctx context.Context, s *session) error {
	return p.adopting(ctx, s, func(ctx context.Context, c doctor.AdoptionConfig) error {
		a, err := doctor.Adopt(ctx, c)
		if redisurl.Denied(err) {
			return fmt.Errorf("this Redis user may not look at tasks: log in as the dashboard's (`sealq redis-acl dashboard`) or an administrator's: %w", err)
		}
		if err != nil {
			return err
		}
		if s.json {
			err = s.printJSON(a)
		} else {
			err = a.Print(s.stdout)
		}
		if err != nil {
			return err
		}
		if !a.Safe {
			return errors.New("not safe to enforce yet")
		}
		return nil
	})
}

// adopting opens what is needed to look at tasks.
func (p *program) adopting(ctx context.Context, s *session, do func(context.Context, doctor.AdoptionConfig) error) error {
	server, err := s.redis()
	if err != nil {
		return err
	}
	look := func(ctx context.Context, jc judge.Config) (err error) {
		client, err := server.reach(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, client.Close()) }()
		j, err := s.newJudge(jc)
		if err != nil {
			return err
		}
		return do(ctx, doctor.AdoptionConfig{Redis: client, Judge: j, Keys: jc.Keys != nil, Now: s.now})
	}
	without, err := s.withoutKeys(ctx)
	if err != nil {
		return err
	}
	if without != "" {
		return look(ctx, judge.Config{})
	}
	return p.withRing(func(ctx context.Context, r *keyRing, _ []string) error {
		audience, err := s.audience()
		if err != nil {
			return err
		}
		keys, err := s.openKeys(ctx, r, audience, 0)
		if err != nil {
			return err
		}
		defer keys.Close()
		return look(ctx, judge.Config{Keys: keys})
	})(ctx, s, nil)
}
