// Package redisurl reads --redis-url: one server, in the clear, over TLS or by a Unix socket, a master that
// sentinels name, or a cluster. It makes the clients that fit each of them, and connects to nothing itself.
//
// It follows asynq's URLs, and refuses what it does not know: a parameter that is misspelt would leave out TLS or a
// password without a word.
package redisurl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/cmd/sealq/internal/config"
)

const (
	flag         = "--redis-url"
	serverPort   = "6379"
	sentinelPort = "26379"
)

// The names of parameters.
const (
	paramMaster     = "master"
	paramUser       = "username"
	paramPassword   = "password"
	paramDB         = "db"
	paramTLS        = "tls"
	paramCA         = "ca"
	paramCert       = "cert"
	paramKey        = "key"
	paramServerName = "servername"
)

func tlsParams() []string { return []string{paramCA, paramCert, paramKey, paramServerName} }

// Server is where --redis-url leads.
type Server struct {
	// Where is the place in words for people, without credentials.
	Where string
	// Local is set if the server is on this machine. What sentinels and clusters lead to is not known before they are asked.
	Local bool
	// Cluster is set if it is a Redis Cluster.
	Cluster bool
	// DB is the number of the database.
	DB int
	// User is who logs in to the servers, "" for the default user; Password says that with one.
	User     string
	Password bool
	// TLS is set if the connections are protected by it.
	TLS bool

	client func() redis.UniversalClient
}

// Client makes a client, which is the caller's to close.
func (s Server) Client() redis.UniversalClient { return s.client() }

// Parse reads the URL, and the files that it names. Its errors are sentences for people that begin with the flag and
// repeat no password.
func Parse(text string) (Server, error) {
	u, err := config.ParseURL(flag, text)
	if err != nil {
		return Server{}, err
	}
	switch u.Scheme {
	case "redis", "rediss":
		return single(u)
	case "redis-socket":
		return socket(u)
	case "redis-sentinel":
		return sentinels(u)
	case "redis-cluster":
		return cluster(u)
	}
	return Server{}, errors.New(flag + " must begin with redis://, rediss://, redis-socket://, redis-sentinel:// or redis-cluster://")
}

func single(u *url.URL) (Server, error) {
	query, err := params(u, tlsParams()...)
	if err != nil {
		return Server{}, err
	}
	secure, err := tlsConfig(query, u.Scheme == "rediss", "write rediss:// for it")
	if err != nil {
		return Server{}, err
	}
	if strings.Contains(u.Host, ",") {
		return Server{}, errors.New(flag + " names several hosts: that is for redis-sentinel:// and redis-cluster://")
	}
	if u.Hostname() == "" {
		return Server{}, errors.New(flag + " names no host: write it like redis://127.0.0.1:6379/0")
	}
	if secure != nil && secure.ServerName == "" {
		secure.ServerName = u.Hostname()
	}
	db, err := number(strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		return Server{}, err
	}
	return one(u, &redis.Options{Addr: withPort(u.Host, serverPort), DB: db, TLSConfig: secure})
}

func socket(u *url.URL) (Server, error) {
	query, err := params(u, paramDB)
	if err != nil {
		return Server{}, err
	}
	if u.Host != "" || u.Path == "" || u.Path == "/" {
		return Server{}, errors.New(flag + " names no socket: write it like redis-socket:///run/redis/redis.sock?db=0")
	}
	db, err := number(query.Get(paramDB))
	if err != nil {
		return Server{}, err
	}
	return one(u, &redis.Options{Network: "unix", Addr: u.Path, DB: db})
}

// one completes the options of a single server.
func one(u *url.URL, o *redis.Options) (Server, error) {
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.MaintNotificationsConfig = quiet()
	var err error
	if o.Username, o.Password, err = credentials(u); err != nil {
		return Server{}, err
	}
	return Server{
		Where: o.Addr, Local: o.Network == "unix" || loopback(o.Addr), DB: o.DB, User: o.Username, Password: o.Password != "", TLS: o.TLSConfig != nil,
		client: func() redis.UniversalClient { return redis.NewClient(new(*o)) },
	}, nil
}

// sentinels takes the sentinels' own user from before the @, as asynq and go-redis do, and the servers' from parameters.
func sentinels(u *url.URL) (Server, error) {
	query, err := params(u, append(tlsParams(), paramMaster, paramUser, paramPassword, paramTLS)...)
	if err != nil {
		return Server{}, err
	}
	addrs, err := hosts(u, sentinelPort)
	if err != nil {
		return Server{}, err
	}
	master := query.Get(paramMaster)
	if master == "" {
		return Server{}, errors.New(flag + " names no master: write it like redis-sentinel://host1:26379,host2:26379/0?master=NAME")
	}
	secure, err := optionalTLS(query)
	if err != nil {
		return Server{}, err
	}
	db, err := number(strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		return Server{}, err
	}
	o := &redis.FailoverOptions{
		MasterName: master, SentinelAddrs: addrs, DB: db, TLSConfig: secure,
		Username: query.Get(paramUser), Password: query.Get(paramPassword),
		ContextTimeoutEnabled: true, DisableIdentity: true, DialTimeout: failoverDial, DialerRetries: failoverDials,
	}
	if o.SentinelUsername, o.SentinelPassword, err = credentials(u); err != nil {
		return Server{}, err
	}
	if o.Username != "" && o.Password == "" {
		return Server{}, errors.New(flag + " has a username and no password, and go-redis would log in as the default user: add &password=PASSWORD, or leave username out")
	}
	return Server{
		Where: "the master " + strconv.Quote(master) + " of the sentinels " + strings.Join(addrs, ","), DB: db,
		User: o.Username, Password: o.Password != "", TLS: secure != nil,
		client: func() redis.UniversalClient { return redis.NewFailoverClient(new(*o)) },
	}, nil
}

func cluster(u *url.URL) (Server, error) {
	query, err := params(u, append(tlsParams(), paramTLS)...)
	if err != nil {
		return Server{}, err
	}
	addrs, err := hosts(u, serverPort)
	if err != nil {
		return Server{}, err
	}
	secure, err := optionalTLS(query)
	if err != nil {
		return Server{}, err
	}
	if db, err := number(strings.TrimPrefix(u.Path, "/")); err != nil || db != 0 {
		return Server{}, errors.New(flag + ": a cluster has database 0 alone: leave the number out")
	}
	o := &redis.ClusterOptions{
		Addrs: addrs, TLSConfig: secure,
		ContextTimeoutEnabled: true, DisableIdentity: true, MaintNotificationsConfig: quiet(), DialTimeout: failoverDial, DialerRetries: failoverDials,
		ClusterStateReloadInterval: clusterReload,
	}
	if o.Username, o.Password, err = credentials(u); err != nil {
		return Server{}, err
	}
	return Server{
		Where: "the cluster " + strings.Join(addrs, ","), Cluster: true, User: o.Username, Password: o.Password != "", TLS: secure != nil,
		client: func() redis.UniversalClient { return redis.NewClusterClient(new(*o)) },
	}, nil
}

// params are the parameters, none of them unknown or given twice.
func params(u *url.URL, known ...string) (url.Values, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New(flag + ": what stands behind the ? is not NAME=VALUE&NAME=VALUE, with special characters as %40")
	}
	slices.Sort(known)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s: %s:// has no parameter %q: it takes %s", flag, u.Scheme, name, strings.Join(known, ", "))
		}
		if len(query[name]) > 1 {
			return nil, fmt.Errorf("%s gives the parameter %s twice: keep one", flag, name)
		}
	}
	return query, nil
}

// credentials refuses a user without a password: go-redis would log in as the default user instead, without a word.
func credentials(u *url.URL) (user, password string, err error) {
	user = u.User.Username()
	if password, _ = u.User.Password(); user != "" && password == "" {
		return "", "", errors.New(flag + " names a user without a password, and go-redis would log in as the default user: write USER:PASSWORD@, or leave the user out")
	}
	return user, password, nil
}

// number reads a database's; none is 0.
func number(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, errors.New(flag + ": the database must be a number, as in redis://127.0.0.1:6379/0")
	}
	return n, nil
}

// hosts takes the addresses that stand in a URL with commas between them.
func hosts(u *url.URL, port string) ([]string, error) {
	var addrs []string
	for host := range strings.SplitSeq(u.Host, ",") {
		if host == "" {
			return nil, fmt.Errorf("%s names no host where one should be: write it like %s://host1:%s,host2:%s", flag, u.Scheme, port, port)
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

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// optionalTLS is for the schemes that have no second one for TLS.
func optionalTLS(query url.Values) (*tls.Config, error) {
	on, err := strconv.ParseBool(query.Get(paramTLS))
	if err != nil && query.Has(paramTLS) {
		return nil, errors.New(flag + ": tls must be true or false")
	}
	return tlsConfig(query, on, "add tls=true")
}
