package survival_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
)

// client is for the process's Redis, as sealq's own command makes one: one server, a master that sentinels name, or a cluster.
func (p process) client() (redis.UniversalClient, error) { return connect(p.Redis) }

func connect(address string) (redis.UniversalClient, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	const oneDial, dialFor, reload = 1, 2 * time.Second, 2 * time.Second
	switch u.Scheme {
	case "redis-sentinel":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			SentinelAddrs: strings.Split(u.Host, ","), MasterName: u.Query().Get("master"),
			ContextTimeoutEnabled: true, DisableIdentity: true, DialTimeout: dialFor, DialerRetries: oneDial,
		}), nil
	case "redis-cluster":
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: strings.Split(u.Host, ","), ClusterStateReloadInterval: reload,
			ContextTimeoutEnabled: true, DisableIdentity: true, DialTimeout: dialFor, DialerRetries: oneDial,
		}), nil
	case "redis":
		o, err := redis.ParseURL(address)
		if err != nil {
			return nil, err
		}
		o.ContextTimeoutEnabled = true
		return redis.NewClient(o), nil
	}
	return nil, errors.New("no such scheme: " + u.Scheme)
}

// keys are needed for a little longer than ctx: until running tasks are done.
func (p process) keys(ctx context.Context) (*signing.Keys, error) {
	source, err := signing.ParseSource("file:" + p.Ring)
	if err != nil {
		return nil, err
	}
	return signing.OpenWith(context.WithoutCancel(ctx), source, "survival", signing.Options{Now: p.now})
}

// open opens the database when it answers: a process that finds none ends, and whatever runs it would start it again.
func open(ctx context.Context, url string) (*postgres.DB, error) {
	for {
		trying, cancel := context.WithTimeout(ctx, 5*time.Second)
		db, err := postgres.Open(trying, url)
		cancel()
		if err == nil {
			return db, nil
		}
		if rest(ctx); ctx.Err() != nil {
			return nil, errNotBegun
		}
	}
}

// errNotBegun is how a process ends, in order, that was stopped before its database or its Redis answered.
var errNotBegun = errors.New("it was stopped before it could begin")

// answering waits until Redis answers: asynq does not wait for it.
func answering(ctx context.Context, client redis.UniversalClient) error {
	for client.Ping(ctx).Err() != nil {
		if rest(ctx); ctx.Err() != nil {
			return errNotBegun
		}
	}
	return nil
}

// rest is the pause between two tries of a process.
func rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}
