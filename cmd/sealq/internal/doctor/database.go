package doctor

import (
	"context"

	"github.com/sealq/sealq/store/postgres"
)

const groupDatabase = "database"

func databaseChecks() []check {
	return []check{
		{groupDatabase, "migrations", database, migrations},
		{groupDatabase, "version", tables, databaseVersion},
		{groupDatabase, "clock", tables, databaseClock},
		{groupDatabase, "role", tables, databaseRole},
		{groupDatabase, "grants", tables, databaseGrants},
	}
}

func migrations(ctx context.Context, e *env) []Finding {
	applied, pending, err := e.db.MigrationStatus(ctx)
	if err != nil {
		return failed(err, "ask which migrations ran", databaseLog)
	}
	if n := int64(len(pending)); n > 0 {
		return say(Problem, "run `sealq migrate up`", "the database lacks %s", plural(n, "migration"))
	}
	return fine("all %s ran", plural(int64(len(applied)), "migration"))
}

// rights reads them of PostgreSQL. ok is false for SQLite, which has no roles and the host's own clock.
func (e *env) rights(ctx context.Context) (r postgres.Rights, ok bool, err error) {
	db, ok := e.db.Postgres()
	if !ok {
		return r, false, nil
	}
	r, err = db.Rights(ctx)
	return r, true, err
}

const leastPostgres = 13

func databaseVersion(ctx context.Context, e *env) []Finding {
	r, ok, err := e.rights(ctx)
	switch {
	case err != nil:
		return failed(err, "ask PostgreSQL for its version", databaseLog)
	case !ok:
		return fine("SQLite, built in")
	}
	return postgresIs(r.Server)
}

func postgresIs(version int) []Finding {
	if version/10000 < leastPostgres {
		return say(Problem, "upgrade it", "PostgreSQL is version %d, and sealq needs %d", version/10000, leastPostgres)
	}
	return fine("PostgreSQL is version %d.%d", version/10000, version%10000)
}

func databaseClock(ctx context.Context, e *env) []Finding {
	asked := e.Now()
	r, ok, err := e.rights(ctx)
	if err != nil {
		return failed(err, "ask PostgreSQL for its time", databaseLog)
	}
	if !ok {
		return fine("SQLite goes by this host's clock")
	}
	took := e.Now().Sub(asked)
	return skew("PostgreSQL", r.Clock.Sub(asked.Add(took/2)), took)
}

func databaseRole(ctx context.Context, e *env) []Finding {
	r, ok, err := e.rights(ctx)
	switch {
	case err != nil:
		return failed(err, "ask PostgreSQL what the role may do", databaseLog)
	case !ok:
		return nil
	case r.Superuser:
		return say(Warning, "make a role that owns sealq's tables and nothing else, CREATE ROLE sealq LOGIN PASSWORD …, and use it in --database-url",
			"the role %s is a superuser: whoever gets at its password has the whole server", shown(r.Role))
	}
	return fine("the role %s is no superuser", shown(r.Role))
}

// databaseGrants looks for roles that can write the outbox itself: a relay signs what stands there, of every kind that it knows.
func databaseGrants(ctx context.Context, e *env) []Finding {
	r, ok, err := e.rights(ctx)
	if err != nil {
		return failed(err, "ask PostgreSQL who may do what", databaseLog)
	}
	if !ok {
		return nil
	}
	if len(r.Public) > 0 {
		return say(Problem, "take them back: REVOKE ALL ON … FROM PUBLIC, or REVOKE EXECUTE ON FUNCTION …", "every role of the server has rights on %s", shownAll(r.Public))
	}
	db, _ := e.db.Postgres()
	given, err := db.EnqueueGrants(ctx)
	if err != nil && !lacksPrivilege(err) {
		return failed(err, "list the grants", databaseLog)
	}
	var unbounded []string
	for _, g := range given {
		if g.Unbounded {
			unbounded = append(unbounded, g.Role)
		}
	}
	if len(unbounded) > 0 {
		return say(Problem, "take from them INSERT, UPDATE and TRIGGER on outbox, enqueue_grants and job_kinds: sealq_enqueue needs none (`sealq migrate grants`)",
			"`sealq migrate grants` bounds what these roles may enqueue, and they can write the tables themselves: %s", shownAll(unbounded))
	}
	if len(r.Writers) > 0 {
		return say(Warning, "right for an app that records jobs through sealq's Go packages; give others `sealq migrate grants --role ROLE --kinds …` in its place",
			"these roles can write the outbox itself, jobs of every kind: %s", shownAll(r.Writers))
	}
	return fine("no other role can write the outbox itself")
}
