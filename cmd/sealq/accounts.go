package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
)

func (p *program) accounts() *cobra.Command {
	return group(&cobra.Command{
		Use: "accounts", Short: "Register, activate, log in; see, lock, disable accounts and give them roles",
		Long: "Do what an app and its operators do through the package accounts. Passwords come from standard input only. Redis may be down:\n" +
			"mails go through the database's outbox.",
		Example: "  sealq accounts register --email ada@example.com < password.txt\n  sealq accounts show --email ada@example.com",
	}, p.accountsRegister(), p.accountsActivate(), p.accountsLogin(), p.accountsShow(), p.accountsLock(), p.accountsUnlock(), p.accountsDisable(),
		p.accountsEnable(), p.accountsRole())
}

// accountOptions are what every accounts command reads.
func accountOptions() []string {
	return []string{"database-url", "pending-ttl", "lockout-limit", "lockout-for"}
}

// maxLockoutLimit is far above what still hinders guessing.
const maxLockoutLimit = 1000

// withAccounts opens the accounts in the database for one command.
func (p *program) withAccounts(do func(ctx context.Context, s *session, a app.Accounts, args []string) error, check func(s *session) error) func(*cobra.Command, []string) error {
	return p.withDatabaseAccounts(func(ctx context.Context, s *session, _ app.Database, a app.Accounts, args []string) error {
		return do(ctx, s, a, args)
	}, check)
}

func (p *program) withDatabaseAccounts(do func(ctx context.Context, s *session, db app.Database, a app.Accounts, args []string) error, check func(s *session) error) func(*cobra.Command, []string) error {
	return p.action(func(ctx context.Context, s *session, args []string) (err error) {
		if check != nil {
			if err := check(s); err != nil {
				return err
			}
		}
		c, err := s.accountsConfig()
		if err != nil {
			return err
		}
		d, err := s.database()
		if err != nil {
			return err
		}
		db, err := d.openMigrated(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		a, err := db.Accounts(c)
		if err != nil {
			return err
		}
		return do(ctx, s, db, a, args)
	})
}

func (s *session) accountsConfig() (c accounts.Config, err error) {
	if c.PendingTTL, err = s.Duration("pending-ttl"); err != nil {
		return c, err
	}
	if c.Lockout.Limit, err = s.Count("lockout-limit", maxLockoutLimit); err != nil {
		return c, err
	}
	c.Lockout.For, err = s.Duration("lockout-for")
	return c, err
}

// needsEmail adds --email to a command and requires it.
func needsEmail(c *cobra.Command, email *string) func(*session) error {
	c.Flags().StringVar(email, "email", "", "the account's `address`")
	return func(*session) error {
		if *email == "" {
			return wrongly("--email is required: give the account's address")
		}
		return nil
	}
}

// inEmail makes a malformed address a mistake in --email.
func inEmail(err error) error {
	if refused, ok := errors.AsType[*accounts.EmailError](err); ok {
		return wrongly("--email: %w", refused)
	}
	return err
}

func (p *program) accountsRegister() *cobra.Command {
	var email, language string
	c := uses(&cobra.Command{
		Use: "register", Short: "Register an address; its confirmation mail goes through the outbox", Args: exactly(),
		Long: "Register an address. The password is all of standard input up to one line end; a terminal is asked for it. Whoever opens the\n" +
			"link activates the account with it, unless the app asks for one of his own. It is entered in the audit log as yours.",
		Example: "  sealq accounts register --email ada@example.com < password.txt",
	}, accountOptions()...)
	c.RunE = p.withDatabaseAccounts(func(ctx context.Context, s *session, db app.Database, a app.Accounts, _ []string) error {
		password, err := s.readPassword(ctx, "Password: ", "Again: ")
		if err != nil {
			return err
		}
		pending, err := a.Operator(actor()).Register(ctx, accounts.Registration{Email: email, Password: password, Language: language})
		if refused, ok := errors.AsType[*accounts.LanguageError](err); ok {
			return wrongly("--lang: %w", refused)
		}
		if err != nil {
			return inEmail(err)
		}
		s.linkAudit(ctx, db)
		return s.printJSON(map[string]any{"pending_id": pending.ID, "expires_at": pending.ExpiresAt.UTC()})
	}, needsEmail(c, &email))
	c.Flags().StringVar(&language, "lang", "", "the language of the mails, a `TAG` such as de or pt-BR (default: the worker's --mail-lang)")
	return c
}

func (p *program) accountsActivate() *cobra.Command {
	return uses(&cobra.Command{
		Use: "activate KEY", Short: "Activate an account with the key of a confirmation link", Args: exactly("KEY"),
		Long: "Activate an account with the key of a confirmation link. It has the password with which its address was registered; a registration\n" +
			"without one is activated by the app alone. It is entered in the audit log as yours.",
		Example: "  sealq accounts activate 2ZzPpG4qk0…",
		RunE: p.withDatabaseAccounts(func(ctx context.Context, s *session, db app.Database, a app.Accounts, args []string) error {
			user, err := a.Operator(actor()).Activate(ctx, args[0])
			if err != nil {
				return err
			}
			s.linkAudit(ctx, db)
			return s.printUser(user)
		}, nil),
	}, accountOptions()...)
}

// keyLast puts a link's key that begins with a dash, as one in 64 does, last and behind "--", where it is no flag. No flag looks
// like one: a key is 43 characters of the base64url alphabet.
func keyLast(args []string) []string {
	isKey := func(arg string) bool {
		return len(arg) == 43 && arg[0] == '-' && strings.Trim(arg, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
	}
	i := slices.IndexFunc(args, isKey)
	if i < 0 || slices.Contains(args, "--") {
		return args
	}
	return append(slices.Delete(slices.Clone(args), i, i+1), "--", args[i])
}

func (p *program) accountsLogin() *cobra.Command {
	var email string
	c := uses(&cobra.Command{
		Use: "login", Short: "Check an address and password, as a login does", Args: exactly(),
		Long:    "Check an address and password. A wrong one counts towards the lockout. The password is all of standard input up\nto one line end; a terminal is asked for it.",
		Example: "  sealq accounts login --email ada@example.com < password.txt",
	}, accountOptions()...)
	c.RunE = p.withAccounts(func(ctx context.Context, s *session, a app.Accounts, _ []string) error {
		password, err := s.readPassword(ctx, "Password: ")
		if err != nil {
			return err
		}
		user, err := a.Authenticate(ctx, email, password)
		if err != nil {
			return err
		}
		return s.printUser(user)
	}, needsEmail(c, &email))
	return c
}

func (s *session) printUser(u accounts.User) error {
	return s.printJSON(map[string]string{"id": u.ID, "email": u.Email})
}

func (p *program) accountsShow() *cobra.Command {
	var email string
	c := uses(&cobra.Command{
		Use: "show", Short: "Tell where an address stands", Args: exactly(),
		Example: "  sealq accounts show --email ada@example.com --json",
	}, accountOptions()...)
	c.RunE = p.withAccounts(func(ctx context.Context, s *session, a app.Accounts, _ []string) error {
		status, err := viewAccount(ctx, a, email)
		if err != nil {
			return inEmail(err)
		}
		if s.json {
			return s.printJSON(status)
		}
		w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
		for _, line := range [][2]string{
			{"email", status.Email},
			{"status", string(status.Status.Status)},
			{"user", orDash(status.UserID)},
			{"roles", orDash(strings.Join(status.Roles, ", "))},
			{"registration", orDash(status.PendingID)},
			{"can be confirmed until", moment(status.ExpiresAt)},
			{"mail accepted", moment(status.SentAt)},
			{"language", orDash(status.Language)},
			{"failed logins", fmt.Sprint(status.FailedAttempts)},
			{"last failure", moment(status.LastFailedAt)},
			{"locked until", moment(status.LockedUntil)},
			{"locked by", orDash(string(status.LockedBy))},
		} {
			fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
		}
		return flush(w)
	}, needsEmail(c, &email))
	return c
}
