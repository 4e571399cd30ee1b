package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/config"
)

const (
	redisPort = "6379"
	// reachPatience is how long a server may take to answer before it counts as unreachable.
	reachPatience = 5 * time.Second
)

// redisServer is where --redis-url leads.
type redisServer struct {
	client func() redis.UniversalClient
	where  string // for people: no credentials
}

// redis reads --redis-url. It connects to nothing.
func (s *session) redis() (redisServer, error) {
	text, err := s.Required("redis-url", "name the queue's Redis, such as redis://127.0.0.1:6379/0")
	if err != nil {
		return redisServer{}, err
	}
	u, err := config.ParseURL("--redis-url", text)
	if err != nil {
		return redisServer{}, err
	}
	switch u.Scheme {
	case "redis-cluster":
		return clusterServer(u)
	case "redis-sentinel":
		return sentinelServer(u)
	case "redis", "rediss", "redis-socket":
	default:
		return redisServer{}, wrongly("--redis-url must begin with redis://, rediss://, redis-socket://, redis-sentinel:// or redis-cluster://")
	}
	parsed, err := asynq.ParseRedisURI(text)
	if err != nil {
		return redisServer{}, wrongly("--redis-url: the database must be a number, as in redis://127.0.0.1:6379/0")
	}
	opt, ok := parsed.(asynq.RedisClientOpt)
	if !ok {
		return redisServer{}, wrongly("--redis-url names a Redis of a form that is not known here")
	}
	return singleServer(u, opt)
}

// singleServer adds what asynq leaves out: the user, the default port, that a context ends a command.
func singleServer(u *url.URL, opt asynq.RedisClientOpt) (redisServer, error) {
	options := &redis.Options{
		Network: opt.Network, Addr: opt.Addr, Username: u.User.Username(), Password: opt.Password, DB: opt.DB,
		TLSConfig: opt.TLSConfig, ContextTimeoutEnabled: true,
	}
	if opt.Network != "unix" {
		if u.Hostname() == "" {
			return redisServer{}, wrongly("--redis-url names no host: write it like redis://127.0.0.1:6379/0")
		}
		options.Addr = withPort(u.Host, redisPort)
	}
	if options.TLSConfig != nil {
		options.TLSConfig.MinVersion = tls.VersionTLS12
	}
	return redisServer{where: options.Addr, client: func() redis.UniversalClient { return redis.NewClient(options) }}, nil
}

// sentinelServer reads the URL itself: asynq knows but one host with a port, and no user.
func sentinelServer(u *url.URL) (redisServer, error) {
	addrs, err := hosts(u, "26379")
	if err != nil {
		return redisServer{}, err
	}
	master := u.Query().Get("master")
	if master == "" {
		return redisServer{}, wrongly("--redis-url names no master: write it like redis-sentinel://host1:26379,host2:26379?master=NAME")
	}
	password, _ := u.User.Password()
	options := &redis.FailoverOptions{
		MasterName: master, SentinelAddrs: addrs, SentinelUsername: u.User.Username(), SentinelPassword: password, ContextTimeoutEnabled: true,
	}
	where := "the sentinels " + strings.Join(addrs, ",")
	return redisServer{where: where, client: func() redis.UniversalClient { return redis.NewFailoverClient(options) }}, nil
}

func clusterServer(u *url.URL) (redisServer, error) {
	addrs, err := hosts(u, redisPort)
	if err != nil {
		return redisServer{}, err
	}
	password, _ := u.User.Password()
	options := &redis.ClusterOptions{Addrs: addrs, Username: u.User.Username(), Password: password, ContextTimeoutEnabled: true}
	where := "the cluster " + strings.Join(addrs, ",")
	return redisServer{where: where, client: func() redis.UniversalClient { return redis.NewClusterClient(options) }}, nil
}

// hosts takes the addresses that stand in a URL with commas between them.
func hosts(u *url.URL, port string) ([]string, error) {
	var addrs []string
	for host := range strings.SplitSeq(u.Host, ",") {
		if host == "" {
			return nil, wrongly("--redis-url names no host where one should be: write it like %s://host1:%s,host2:%s", u.Scheme, port, port)
		}
		addrs = append(addrs, withPort(host, port))
	}
	return addrs, nil
}

func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// reach connects and pings. Its error says where, and what to do.
func (r redisServer) reach(ctx context.Context) (redis.UniversalClient, error) {
	client := r.client()
	if err := pingRedis(ctx, client); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot reach Redis at %s (--redis-url): %w; start it or correct the URL", r.where, err), client.Close())
	}
	return client, nil
}

func pingRedis(ctx context.Context, client redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		return brief(err)
	}
	return nil
}
