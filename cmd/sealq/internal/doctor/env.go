package doctor

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/brief"
	"github.com/sealq/sealq/signing"
)

// env is what the checks look at.
type env struct {
	Config

	redis    redis.UniversalClient // nil: not reached
	db       app.Database          // nil: not reached
	upToDate bool                  // its tables

	ring    sync.Once
	ringIs  *signing.Ring
	ringErr error
}

// reach connects to everything at once, and says by group how that went.
func (e *env) reach(ctx context.Context) map[string][]Finding {
	ctx, cancel := context.WithTimeout(ctx, e.Reach)
	defer cancel()
	var toRedis, toDatabase []Finding
	var reaching sync.WaitGroup
	reaching.Go(func() { toRedis = e.reachRedis(ctx) })
	reaching.Go(func() { toDatabase = e.reachDatabase(ctx) })
	reaching.Wait()
	return map[string][]Finding{groupRedis: connection(groupRedis, toRedis), groupDatabase: connection(groupDatabase, toDatabase)}
}

func connection(group string, findings []Finding) []Finding {
	for i := range findings {
		findings[i].Group, findings[i].Check = group, "connection"
	}
	return findings
}

func (e *env) reachRedis(ctx context.Context) []Finding {
	if e.Redis == nil {
		return skipped("no Redis is named (--redis-url)")
	}
	client := e.Redis.Client()
	err := client.Ping(ctx).Err()
	if err == nil || redis.HasErrorPrefix(err, "MISCONF") { // it answers, but not PING: what is wrong is told by other checks
		e.redis = client
		return fine("Redis at %s answers", e.Redis.Where)
	}
	closeSoon(client.Close)
	text := oneLine(brief.Error(err).Error())
	if !e.Redis.Given {
		return skipped("no Redis is named (--redis-url), and none answers at the default address %s: %s", e.Redis.Where, text)
	}
	return say(Problem, e.Redis.Advice(err), "cannot reach Redis at %s (--redis-url): %s", e.Redis.Where, text)
}

func (e *env) reachDatabase(ctx context.Context) []Finding {
	if e.Database == nil {
		return skipped("no database is named (--database-url)")
	}
	db, err := e.Database.Open(ctx)
	if err != nil {
		return say(Problem, "start it or correct the URL", "cannot reach the database at %s (--database-url): %s", e.Database.Where, oneLine(brief.Error(err).Error()))
	}
	e.db = db
	_, pending, err := db.MigrationStatus(ctx)
	e.upToDate = err == nil && len(pending) == 0
	return fine("the database at %s answers", e.Database.Where)
}

// lacks says why a check with these needs cannot be made, "" if it can.
func (e *env) lacks(n need) string {
	switch {
	case n == queue && e.redis == nil:
		return "not looked at: there is no connection to Redis"
	case n >= database && e.db == nil:
		return "not looked at: there is no connection to a database"
	case n == tables && !e.upToDate:
		return "not looked at: the database's tables are not up to date"
	}
	return ""
}

// loadRing reads the ring once for all checks.
func (e *env) loadRing(ctx context.Context) (*signing.Ring, error) {
	e.ring.Do(func() { e.ringIs, e.ringErr = e.readRing(ctx) })
	return e.ringIs, e.ringErr
}

var errNoDatabase = errors.New("the key ring is in a database that cannot be looked at (--keys database)")

func (e *env) readRing(ctx context.Context) (*signing.Ring, error) {
	if e.Keys.Source != nil {
		return e.Keys.Source.Load(ctx)
	}
	if e.lacks(tables) != "" {
		return nil, errNoDatabase
	}
	kek, err := signing.LoadKEK(e.Keys.KEKFile)
	if err != nil {
		return nil, err
	}
	vault, err := signing.NewDatabase(e.db, kek)
	if err != nil {
		return nil, err
	}
	return vault.Load(ctx)
}

// closing is how long is waited for connections to be closed: a server that hangs must not hold up the answer.
const closing = time.Second

func (e *env) close() {
	var closes sync.WaitGroup
	defer closes.Wait()
	if e.redis != nil {
		closes.Go(func() { closeSoon(e.redis.Close) })
	}
	if e.db != nil {
		closes.Go(func() { closeSoon(e.db.Close) })
	}
}

// closeSoon closes, and waits no longer than closing: what is not closed then ends with the process.
func closeSoon(closeIt func() error) {
	done := make(chan struct{})
	go func() { defer close(done); _ = closeIt() }()
	timer := time.NewTimer(closing)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
