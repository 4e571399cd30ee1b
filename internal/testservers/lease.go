package testservers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Tests of several processes share one Redis by leasing its logical databases.
// The leases stand in the database that SEALQ_TEST_REDIS_URL names, which is
// never leased itself.
const (
	leaseKey  = "sealq:test:lease:" // + number: the tenant's token; ends by itself
	ownedKey  = "sealq:test:owned:" // + number: set while what the database holds is from tests
	databases = 16                  // Redis's default; a server with fewer refuses SELECT

	leaseTTL   = 30 * time.Second // a killed test's database is free again after that
	leaseRenew = 5 * time.Second
	leasePoll  = 50 * time.Millisecond
	leaseWait  = 5 * time.Minute // for other tests to end
)

var errNoDatabase = errors.New("no database of the server that " + RedisURLEnv + " names is free: " +
	"each one either holds data that no test wrote, which is left alone, or is in use by another test")

// lease is one logical database of a shared Redis, held by one test.
type lease struct {
	options redis.Options // as SEALQ_TEST_REDIS_URL has them: where the leases stand
	leases  *redis.Client
	token   string
	number  int
}

// takeLease waits until it has a database that is empty or was left by a test,
// and empties it.
func takeLease(ctx context.Context, options redis.Options) (*lease, error) {
	l := &lease{options: options, token: rand.Text()}
	l.leases = redis.NewClient(new(options))
	ctx, cancel := context.WithTimeoutCause(ctx, leaseWait, errNoDatabase)
	defer cancel()
	err := l.take(ctx)
	if err == nil {
		err = l.flush(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lease a database: %w", err), l.leases.Close())
	}
	return l, nil
}

func (l *lease) take(ctx context.Context) error {
	for {
		tenants := 0
		for number := range databases {
			if number == l.options.DB {
				continue
			}
			free, err := l.leases.SetNX(ctx, leaseKey+strconv.Itoa(number), l.token, leaseTTL).Result()
			if err != nil {
				return err
			}
			if !free {
				tenants++
				continue
			}
			l.number = number
			usable, err := l.claim(ctx)
			if usable || err != nil {
				return err
			}
			if err := l.leases.Del(ctx, leaseKey+strconv.Itoa(number)).Err(); err != nil {
				return err
			}
		}
		if tenants == 0 {
			return errNoDatabase
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(leasePoll):
		}
	}
}

// claim says whether the database may be emptied, and notes that it may.
func (l *lease) claim(ctx context.Context) (bool, error) {
	owned, err := l.leases.Exists(ctx, ownedKey+strconv.Itoa(l.number)).Result()
	if err != nil || owned == 1 {
		return owned == 1, err
	}
	tenant := l.tenant()
	defer tenant.Close()
	size, err := tenant.DBSize(ctx).Result()
	if err != nil || size > 0 {
		return false, err
	}
	return true, l.leases.Set(ctx, ownedKey+strconv.Itoa(l.number), "1", 0).Err()
}

// tenant returns a client of the leased database, to be closed by the caller.
func (l *lease) tenant() *redis.Client {
	options := l.options
	options.DB = l.number
	return redis.NewClient(&options)
}

func (l *lease) flush(ctx context.Context) error {
	tenant := l.tenant()
	defer tenant.Close()
	return tenant.FlushDB(ctx).Err()
}

// prolong sets the lease's end anew; it is an error that somebody else has it.
func (l *lease) prolong(ctx context.Context) error {
	const ifOurs = `if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end return redis.call("PEXPIRE", KEYS[1], ARGV[2])`
	done, err := l.leases.Eval(ctx, ifOurs, []string{leaseKey + strconv.Itoa(l.number)}, l.token, leaseTTL.Milliseconds()).Int()
	if err != nil {
		return fmt.Errorf("prolong the lease of database %d: %w", l.number, err)
	}
	if done == 0 {
		return fmt.Errorf("the lease of database %d ran out during the test", l.number)
	}
	return nil
}

// keep prolongs the lease until the returned function is called, which waits
// and returns what went wrong meanwhile.
func (l *lease) keep(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var lost error
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(leaseRenew)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if lost = l.prolong(ctx); lost != nil {
					return
				}
			}
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		if errors.Is(lost, context.Canceled) {
			return nil
		}
		return lost
	}
}

// giveBack empties the database and ends the lease, unless it ran out before.
func (l *lease) giveBack(ctx context.Context) error {
	if err := l.prolong(ctx); err != nil {
		return errors.Join(err, l.leases.Close())
	}
	number := strconv.Itoa(l.number)
	return errors.Join(l.flush(ctx), l.leases.Del(ctx, ownedKey+number, leaseKey+number).Err(), l.leases.Close())
}

// leasedRedis is a leased database behind a proxy, which can be cut.
type leasedRedis struct {
	*proxy
	lease *lease
}

// Start brings the database back empty, as a restarted server would be.
func (r *leasedRedis) Start(ctx context.Context) error {
	if err := r.lease.flush(ctx); err != nil {
		return fmt.Errorf("empty database %d: %w", r.lease.number, err)
	}
	return r.Restore(ctx)
}

// Kill cuts every connection.
func (r *leasedRedis) Kill() error { return r.Cut() }

// Freeze cuts every connection.
func (r *leasedRedis) Freeze() error { return r.Cut() }

// Thaw lets connections pass again.
func (r *leasedRedis) Thaw() error { return r.Restore(context.Background()) }

// sharedRedis leases t a database of the Redis that url names.
func sharedRedis(t testing.TB, url string) *RedisServer {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil { // not printed: it would show the URL's password
		t.Fatalf("%s is no Redis URL: set it to redis://HOST:PORT/0", RedisURLEnv)
	}
	l, err := takeLease(t.Context(), *options)
	must(t, err)
	stop := l.keep(context.WithoutCancel(t.Context()))
	cleanup(t, func(ctx context.Context) error { return errors.Join(stop(), l.giveBack(ctx)) })

	p, err := newProxy(t.Context(), dialTo(options.Network, options.Addr, options.TLSConfig))
	must(t, err)
	cleanup(t, func(context.Context) error { return p.Close() })
	must(t, p.Restore(t.Context()))
	return &RedisServer{
		url:    redisURL(options, p.Addr(), l.number),
		addr:   p.Addr(),
		server: &leasedRedis{proxy: p, lease: l},
	}
}
