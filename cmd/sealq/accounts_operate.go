package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
)

// account is one address in an operator's hands.
type account struct {
	app.Accounts
	app.Operator
	email  string
	before accounts.Status
}

// operates makes a command that changes one account in the name of whoever runs it, and prints where the address stands then.
// done is the line for people.
func (p *program) operates(c *cobra.Command, check func(*session) error, change func(ctx context.Context, s *session, a account) error, done func(accountView) string) *cobra.Command {
	uses(c, accountOptions()...)
	var email string
	hasEmail := needsEmail(c, &email)
	c.Args = exactly()
	c.RunE = p.withDatabaseAccounts(func(ctx context.Context, s *session, db app.Database, a app.Accounts, _ []string) error {
		status, err := a.Show(ctx, email)
		if err != nil {
			return inEmail(err)
		}
		err = change(ctx, s, account{Accounts: a, Operator: a.Operator(actor()), email: email, before: status})
		switch {
		case errors.Is(err, accounts.ErrInvalidRole):
			return wrongly("--role: %w", accounts.ErrInvalidRole)
		case errors.Is(err, accounts.ErrNoSuchUser):
			return fmt.Errorf("%s has no account, its status is %s: `sealq explain` says more: %w", shownText(status.Email), status.Status, accounts.ErrNoSuchUser)
		case err != nil:
			return inEmail(err)
		}
		s.linkAudit(ctx, db)
		view, err := viewAccount(ctx, a, email)
		if err != nil {
			return inEmail(err)
		}
		return s.answer(view, "%s", done(view))
	}, func(s *session) error {
		if err := hasEmail(s); err != nil || check == nil {
			return err
		}
		return check(s)
	})
	return c
}

func (p *program) accountsLock() *cobra.Command {
	var length time.Duration
	c := &cobra.Command{
		Use: "lock", Short: "Lock an address for a while, whether or not it has an account",
		Long: "Lock an address for a while, whether or not it has an account: every attempt to log in fails as with a wrong password. Neither a\n" +
			"new password nor a success lifts it: `sealq accounts unlock` does, or its time. Of two locks the longer stands: to shorten one,\n" +
			"unlock first. Sessions go on: `sealq accounts disable` ends them. It is entered in the audit log.",
		Example: "  sealq accounts lock --email ada@example.com --for 24h",
	}
	var before accounts.Status
	c.Flags().DurationVar(&length, "for", 0, "how long (default: as --lockout-for says)")
	return p.operates(c, func(s *session) (err error) {
		if !c.Flags().Changed("for") {
			length, err = s.Duration("lockout-for")
		}
		if err == nil && (length < time.Millisecond || length%time.Millisecond != 0) {
			err = wrongly("--for must be above zero and of whole milliseconds, such as 15m or 24h")
		}
		return err
	}, func(ctx context.Context, _ *session, a account) error {
		before = a.before
		return a.Lock(ctx, a.email, length)
	}, func(v accountView) string { return locked(before, v) })
}

// locked tells of the lock that stands now, which need not be the one that was asked for.
func locked(before accounts.Status, v accountView) string {
	text := fmt.Sprintf("%s is locked until %s", v.Email, moment(v.LockedUntil))
	if before.LockedUntil != nil && v.LockedUntil != nil && before.LockedUntil.Equal(*v.LockedUntil) {
		text += ": a lock that was there lasts longer than yours, and stands. To shorten it, `sealq accounts unlock` first"
	}
	if v.UserID == "" {
		text += fmt.Sprintf(". It has no account, its status is %s: the lock holds for one that it gets until then", v.Status.Status)
	}
	return text
}

func (p *program) accountsUnlock() *cobra.Command {
	return p.operates(&cobra.Command{
		Use: "unlock", Short: "Lift whatever lock an address has, and forget its failures",
		Long: "Lift whatever lock an address has, after failures or by an operator, and forget its failures. Apps that answer a locked address\n" +
			"from memory hear of it within seconds. It is entered in the audit log.",
		Example: "  sealq accounts unlock --email ada@example.com",
	}, nil, func(ctx context.Context, _ *session, a account) error {
		return a.Unlock(ctx, a.email)
	}, func(v accountView) string {
		return fmt.Sprintf("%s is not locked; its status is %s", v.Email, v.Status.Status)
	})
}

func (p *program) accountsDisable() *cobra.Command {
	return p.operates(&cobra.Command{
		Use: "disable", Short: "Shut an account until it is enabled",
		Long: "Shut an account until it is enabled: nobody can log in, its sessions are over, and so are links that were mailed and known\n" +
			"devices. It is entered in the audit log.",
		Example: "  sealq accounts disable --email ada@example.com",
	}, nil, func(ctx context.Context, _ *session, a account) error {
		return a.Disable(ctx, a.before.UserID)
	}, func(v accountView) string {
		return v.Email + " is disabled"
	})
}

func (p *program) accountsEnable() *cobra.Command {
	return p.operates(&cobra.Command{
		Use: "enable", Short: "Open an account that was disabled",
		Long:    "Open an account that was disabled. A lock that it has, it keeps. It is entered in the audit log.",
		Example: "  sealq accounts enable --email ada@example.com",
	}, nil, func(ctx context.Context, _ *session, a account) error {
		return a.Enable(ctx, a.before.UserID)
	}, func(v accountView) string {
		return fmt.Sprintf("%s is enabled; its status is %s", v.Email, v.Status.Status)
	})
}

func (p *program) accountsRole() *cobra.Command {
	return group(&cobra.Command{
		Use: "role", Short: "Grant, revoke and list the roles of an account",
		Example: "  sealq accounts role grant --email ada@example.com --role admin\n  sealq accounts role list --email ada@example.com",
	}, p.accountsRoleGrant(), p.accountsRoleRevoke(), p.accountsRoleList())
}

func (p *program) accountsRoleGrant() *cobra.Command {
	return p.setsRole(&cobra.Command{
		Use: "grant", Short: "Give an account a role",
		Long:    "Give an account a role. It holds at once, wherever the app asks for it. It is entered in the audit log.",
		Example: "  sealq accounts role grant --email ada@example.com --role admin",
	}, app.Operator.Grant)
}

func (p *program) accountsRoleRevoke() *cobra.Command {
	return p.setsRole(&cobra.Command{
		Use: "revoke", Short: "Take a role from an account",
		Long:    "Take a role from an account. It is gone at once, wherever the app asks for it. It is entered in the audit log.",
		Example: "  sealq accounts role revoke --email ada@example.com --role admin",
	}, app.Operator.Revoke)
}

func (p *program) setsRole(c *cobra.Command, set func(o app.Operator, ctx context.Context, userID, role string) error) *cobra.Command {
	var role string
	c.Flags().StringVar(&role, "role", "", "the role's `name`")
	return p.operates(c, func(*session) error {
		if role == "" {
			return wrongly("--role is required: give the role's name")
		}
		return nil
	}, func(ctx context.Context, _ *session, a account) error {
		return set(a.Operator, ctx, a.before.UserID, role)
	}, func(v accountView) string {
		return fmt.Sprintf("roles of %s: %s", v.Email, orDash(strings.Join(v.Roles, ", ")))
	})
}

func (p *program) accountsRoleList() *cobra.Command {
	var email string
	c := uses(&cobra.Command{
		Use: "list", Short: "List the roles of an account", Args: exactly(),
		Example: "  sealq accounts role list --email ada@example.com",
	}, accountOptions()...)
	c.RunE = p.withAccounts(func(ctx context.Context, s *session, a app.Accounts, _ []string) error {
		view, err := viewAccount(ctx, a, email)
		if err != nil {
			return inEmail(err)
		}
		if s.json {
			return s.printJSON(map[string]any{"email": view.Email, "status": view.Status.Status, "roles": view.Roles})
		}
		for _, role := range view.Roles {
			fmt.Fprintln(s.stdout, role)
		}
		return nil
	}, needsEmail(c, &email))
	return c
}

// accountView is where an address stands, with its roles.
type accountView struct {
	accounts.Status
	Roles []string `json:"roles"`
}

func viewAccount(ctx context.Context, a app.Accounts, email string) (accountView, error) {
	view := accountView{Roles: []string{}}
	var err error
	if view.Status, err = a.Show(ctx, email); err != nil {
		return view, err
	}
	view.Email = shownText(view.Email)
	if view.UserID == "" {
		return view, nil
	}
	roles, err := a.Roles(ctx, view.UserID)
	if err == nil {
		view.Roles = roles
	}
	if errors.Is(err, accounts.ErrNoSuchUser) { // deleted in between
		err = nil
	}
	return view, err
}
