package seed

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
)

const (
	userPassword  = "correct horse battery staple"
	wrongPassword = "not the right password"
	// ada is somebody to whom much happens.
	ada = "ada@lovelace.example"
)

// Domains whose mail servers answer otherwise than well: Refuse.
const (
	goneDomain = "@closed.example"
	fullDomain = "@full.example"
	clubDomain = "@club.example"
)

// clubRate is how many mails may go to one domain: a club that registers all its members at once waits for some.
func clubRate() authjobs.Rate { return authjobs.Rate{N: 60, Per: time.Hour} }

// Refuse is how the mail catcher answers: mailboxes at closed.example do not exist, those at full.example are full.
func Refuse(_ context.Context, step catcher.Step) error {
	if step.Stage != catcher.StageRcpt {
		return nil
	}
	switch to := step.To[len(step.To)-1]; {
	case strings.HasSuffix(to, goneDomain):
		return catcher.Answer(550, "no such mailbox: "+to)
	case strings.HasSuffix(to, fullDomain):
		return catcher.Answer(452, "the mailbox is full")
	}
	return nil
}

// who are those that register and confirm.
func who() []string {
	return []string{
		"grace@hopper.example", "alan@turing.example", "edsger@dijkstra.example", "barbara@liskov.example", "donald@knuth.example",
		"frances@allen.example", "tony@hoare.example", "radia@perlman.example", "leslie@lamport.example", "margaret@hamilton.example",
		"ken@thompson.example", "sophie@wilson.example", "niklaus@wirth.example", "hedy@lamarr.example", "dennis@ritchie.example",
		"shafi@goldwasser.example", "jean@bartik.example", "vint@cerf.example", "karen@sparck-jones.example", "evelyn@boyd.example",
	}
}

// people are the users' events.
func (s *story) people() (day []event) {
	at := func(ago time.Duration, what func(context.Context) error) { day = append(day, event{ago, what}) }
	addresses := who()
	s.dice.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	for i, address := range addresses {
		registered := s.between(time.Duration(i)*time.Hour, time.Duration(i+1)*time.Hour) + 3*time.Hour
		at(registered, s.register(address))
		at(registered-s.between(2*time.Minute, 40*time.Minute), s.confirm(address))
		if i%3 == 0 && i > 1 && i < len(addresses)-2 { // whom nobody locks
			at(s.between(30*time.Minute, registered-time.Hour), s.logIn(address, userPassword))
		}
	}
	// Ada forgets her password, guesses until she is locked, and gets a new one.
	at(22*time.Hour, s.register(ada))
	at(21*time.Hour+48*time.Minute, s.confirm(ada))
	at(5*time.Hour, s.guess(ada, 5))
	at(4*time.Hour+20*time.Minute, func(ctx context.Context) error { return s.users.RequestReset(ctx, ada) })
	at(4*time.Hour+15*time.Minute, s.reset(ada))
	at(4*time.Hour+14*time.Minute, s.logIn(ada, userPassword+"!"))
	// Others are locked: one long ago, one by an operator, two now.
	at(13*time.Hour, s.guess(addresses[len(addresses)-1], 6))
	at(26*time.Minute, s.byHand(func(o operated) error { return o.Lock(o.ctx, addresses[0], 24*time.Hour) }))
	at(6*time.Minute, s.guess(addresses[1], 7))
	at(4*time.Minute, s.guess("mallory@elsewhere.example", 5)) // nobody's
	at(11*time.Hour, s.byHand(func(o operated) error {
		user, err := s.db.AccountState(o.ctx, addresses[len(addresses)-2])
		if err != nil {
			return err
		}
		return o.Disable(o.ctx, user.User.ID)
	}))
	// Registrations that wait, one that was asked for twice, some whose time is over.
	for i, address := range []string{"ada.l@later.example", "linus@waiting.example", "guido@waiting.example", "yukihiro@later.example"} {
		at(s.between(time.Duration(i)*40*time.Minute+10*time.Minute, time.Duration(i+1)*40*time.Minute), s.register(address))
	}
	at(50*time.Minute, s.register("linus@waiting.example"))
	at(16*time.Hour, s.registerFor("never@mind.example", 90*time.Minute))
	at(8*time.Hour, s.registerFor("too@late.example", time.Hour))
	at(2*time.Hour+30*time.Minute, s.register(ada)) // who has an account already, and is told
	// Mail servers that say no, and one domain to which too many want at once.
	at(19*time.Hour, s.register("old"+goneDomain))
	at(10*time.Hour, s.register("typo"+goneDomain))
	at(3*time.Hour, s.register("old"+goneDomain)) // suppressed since
	at(95*time.Minute, s.register("max"+goneDomain))
	at(42*time.Minute, s.register("minnie"+fullDomain))
	at(12*time.Minute, s.register("hoarder"+fullDomain))
	at(2*time.Minute, func(ctx context.Context) error {
		for i := range 10 {
			if err := s.register(fmt.Sprintf("member%d%s", i+1, clubDomain))(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	return day
}

func (s *story) register(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.users.Register(ctx, accounts.Registration{Email: address, PasswordLater: true})
		return err
	}
}

// registerFor registers where confirming takes no longer than that.
func (s *story) registerFor(address string, ttl time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		hasty, err := s.db.Accounts(accounts.Config{Hash: cheap(), PendingTTL: ttl})
		if err != nil {
			return err
		}
		_, err = hasty.Register(ctx, accounts.Registration{Email: address, PasswordLater: true})
		return err
	}
}

func (s *story) confirm(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.users.ActivateWithPassword(ctx, s.links[address], userPassword)
		return err
	}
}

func (s *story) reset(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.users.ResetPassword(ctx, s.links[address], userPassword+"!")
		return err
	}
}

func (s *story) logIn(address, password string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.users.Authenticate(ctx, address, password)
		return err
	}
}

func (s *story) guess(address string, times int) func(context.Context) error {
	return func(ctx context.Context) error {
		for range times {
			if _, err := s.users.Authenticate(ctx, address, wrongPassword); !errors.Is(err, accounts.ErrRefused) {
				return fmt.Errorf("a wrong password was answered with %w", err)
			}
		}
		return nil
	}
}

// readMails remembers the newest link to each address.
func (s *story) readMails() error {
	for _, m := range s.cfg.Stack.Mail.Messages() {
		link, err := url.Parse(m.Link())
		if err != nil {
			return fmt.Errorf("the link in a mail: %w", err)
		}
		if key := link.Query().Get("key"); key != "" {
			s.links[m.To[0]] = key
		}
	}
	return nil
}
