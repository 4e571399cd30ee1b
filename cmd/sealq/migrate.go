package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) migrate() *cobra.Command {
	return group(&cobra.Command{
		Use: "migrate", Short: "Bring the database's tables up to date",
		Example: "  sealq migrate up --database-url sqlite:sealq.db",
	}, p.migrateUp(), p.migrateStatus(), p.migrateGrants())
}

func (p *program) migrateUp() *cobra.Command {
	return uses(&cobra.Command{
		Use: "up", Short: "Run the migrations that the database lacks", Args: exactly(),
		Long:    "Run the migrations that the database lacks. An SQLite file is made where there is none. There is no way back:\nmigrations only go forward.",
		Example: "  sealq migrate up --database-url sqlite:sealq.db\n  SEALQ_DATABASE_URL_FILE=/run/secrets/database_url sealq migrate up",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) (err error) {
			d, err := s.database()
			if err != nil {
				return err
			}
			db, err := d.openOrCreate(ctx)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			ran, err := db.Migrate(ctx)
			if err != nil {
				return err
			}
			if len(ran) == 0 {
				return s.answer(map[string][]string{"ran": {}}, "up to date")
			}
			return s.answer(map[string][]string{"ran": ran}, "ran %s", strings.Join(ran, ", "))
		}),
	}, "database-url")
}

func (p *program) migrateStatus() *cobra.Command {
	return uses(&cobra.Command{
		Use: "status", Short: "List the migrations that ran and those that are missing", Args: exactly(),
		Example: "  sealq migrate status --database-url sqlite:sealq.db --json",
		RunE: p.action(func(ctx context.Context, s *session, _ []string) (err error) {
			d, err := s.database()
			if err != nil {
				return err
			}
			db, err := d.open(ctx)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			applied, pending, err := db.MigrationStatus(ctx)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(map[string][]string{"applied": orEmpty(applied), "pending": orEmpty(pending)})
			}
			for _, name := range applied {
				fmt.Fprintln(s.stdout, "applied", name)
			}
			for _, name := range pending {
				fmt.Fprintln(s.stdout, "pending", name)
			}
			return nil
		}),
	}, "database-url")
}

// orEmpty keeps a list that is empty from becoming null in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
