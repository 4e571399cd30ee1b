package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

// grantsFlags are what `sealq migrate grants` takes.
type grantsFlags struct {
	role   string
	kinds  []string
	revoke bool
	print  bool
}

// grant is what a role may enqueue.
type grant struct {
	Role      string      `json:"role"`
	Kinds     []jobs.Kind `json:"kinds"`
	Unbounded bool        `json:"unbounded"`
}

func (p *program) migrateGrants() *cobra.Command {
	var f grantsFlags
	c := uses(&cobra.Command{
		Use: "grants", Short: "Say which database roles may enqueue which kinds in SQL", Args: exactly(),
		Long: "Give a role of PostgreSQL the right to enqueue jobs of some kinds with SELECT sealq_enqueue(kind, args), take it away, or,\n" +
			"without --kinds and --revoke, list what is given. A role needs no key and no right on any table. Only the role that\n" +
			"logs in counts: SET ROLE gives no kind, and what is granted to a group is not its members'. Run it as the user that\n" +
			"owns sealq's tables.",
		Example: "  sealq migrate grants --role app_signup --kinds mail:confirmation,app:welcome\n" +
			"  sealq migrate grants --role app_signup --kinds app:welcome --revoke\n" +
			"  sealq migrate grants --json",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) error { return s.grants(ctx, f) }),
	}, "database-url")
	c.Flags().StringVar(&f.role, "role", "", "the `ROLE` that logs in to PostgreSQL")
	c.Flags().StringSliceVar(&f.kinds, "kinds", nil, "`KINDS`, separated by commas (with --revoke: all where none is named)")
	c.Flags().BoolVar(&f.revoke, "revoke", false, "take the kinds from the role")
	c.Flags().BoolVar(&f.print, "print", false, "print the SQL and change nothing")
	return c
}

func (f grantsFlags) changes() bool { return len(f.kinds) > 0 || f.revoke }

func (f grantsFlags) check() error {
	switch {
	case f.changes() && f.role == "":
		return wrongly("--role is required: name the role that logs in to PostgreSQL")
	case f.print && !f.changes():
		return wrongly("--print needs --kinds or --revoke: there is nothing to change")
	}
	return nil
}

func (f grantsFlags) list() []jobs.Kind {
	kinds := make([]jobs.Kind, len(f.kinds))
	for i, kind := range f.kinds {
		kinds[i] = jobs.Kind(strings.TrimSpace(kind))
	}
	return kinds
}

func (s *session) grants(ctx context.Context, f grantsFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	d, err := s.database()
	if err != nil {
		return err
	}
	if d.path != "" {
		return wrongly("--database-url names an SQLite file, which has no roles: grants are PostgreSQL's")
	}
	opened, err := d.openMigrated(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	db, ok := opened.Postgres()
	if !ok {
		return fmt.Errorf("the database at %s (--database-url) is not PostgreSQL", d.where)
	}
	if f.print {
		return s.printGrants(ctx, db, f)
	}
	switch {
	case f.revoke:
		err = db.RevokeEnqueue(ctx, f.role, f.list()...)
	case f.changes():
		// A database that an app has migrated by itself does not know the auth kinds yet.
		if err = opened.RecordKinds(ctx); err == nil {
			err = db.GrantEnqueue(ctx, f.role, f.list()...)
		}
	}
	if err != nil {
		return wrongGrant(err)
	}
	return s.listGrants(ctx, db, f.role)
}

// wrongGrant tells flags that name nothing from failures.
func wrongGrant(err error) error {
	switch {
	case errors.Is(err, postgres.ErrNoSuchRole), errors.Is(err, postgres.ErrRoleCannotLogIn):
		return wrongly("--role: %w", err)
	case errors.Is(err, jobs.ErrUnknownKind):
		return wrongly("--kinds: %w; an app records its own with RecordKinds", err)
	}
	return err
}

func (s *session) printGrants(ctx context.Context, db *postgres.DB, f grantsFlags) error {
	script := db.GrantEnqueueSQL
	if f.revoke {
		script = db.RevokeEnqueueSQL
	}
	text, err := script(ctx, f.role, f.list()...)
	if err != nil {
		return wrongGrant(err)
	}
	return s.answer(map[string]string{"sql": text}, "%s", strings.TrimSuffix(text, "\n"))
}

// listGrants lists one role's grants, or everybody's.
func (s *session) listGrants(ctx context.Context, db *postgres.DB, role string) error {
	given, err := db.EnqueueGrants(ctx)
	if err != nil {
		return err
	}
	shown := []grant{}
	for _, g := range given {
		if role == "" || g.Role == role {
			shown = append(shown, grant(g))
		}
	}
	if s.json {
		return s.printJSON(shown)
	}
	for _, g := range shown {
		fmt.Fprintf(s.stdout, "%s\t%s\n", g.Role, orNone(joined(g.Kinds, ", ")))
		if g.Unbounded {
			fmt.Fprintf(s.stderr, "sealq: warning: the grants do not bind %s, which can write sealq's tables itself\n", g.Role)
		}
	}
	if len(shown) > 0 {
		return nil
	}
	kinds, err := db.Kinds(ctx)
	if err != nil {
		return err
	}
	what := "no role may enqueue anything"
	if role != "" {
		what = role + " may enqueue nothing"
	}
	fmt.Fprintf(s.stdout, "%s in SQL; kinds that can be granted: %s\n", what, orNone(joined(kinds, ", ")))
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
