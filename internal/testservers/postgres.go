package testservers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/internal/testservers/instance"
)

// Postgres gives t the URL of a fresh, empty database on the server that
// SEALQ_TEST_POSTGRES_URL names, dropped with its sessions when t ends.
func Postgres(t testing.TB) string {
	t.Helper()
	shared := os.Getenv(PostgresURLEnv)
	if shared == "" {
		t.Fatal(noPostgres)
	}
	return freshDatabase(t, shared)
}

// freshDatabase makes a database on the server that address names.
func freshDatabase(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") { // not printed: it would show the URL's password
		t.Fatalf("%s is no PostgreSQL URL: set it to postgres://USER:PASSWORD@HOST:PORT/postgres", PostgresURLEnv)
	}
	name := "sealq_test_" + strings.ToLower(rand.Text())
	must(t, execute(t.Context(), address, "CREATE DATABASE "+name))
	cleanup(t, func(ctx context.Context) error {
		return execute(ctx, address, "DROP DATABASE "+name+" WITH (FORCE)")
	})
	u.Path = "/" + name
	return u.String()
}

// execute runs one statement on a connection of its own.
func execute(ctx context.Context, address, statement string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err) // pgx redacts the password
	}
	_, err = conn.Exec(ctx, statement)
	if err != nil {
		err = fmt.Errorf("%s: %w", statement, err)
	}
	return errors.Join(err, conn.Close(ctx))
}

// PostgresInstance is a PostgreSQL server for one test, to be stopped and
// started. Its methods are for the test's goroutine.
type PostgresInstance struct {
	url    string
	server postgresBackend
}

// postgresBackend is a private server, or a fresh database behind a proxy.
type postgresBackend interface {
	Start(ctx context.Context) error
	Stop() error
	Kill() error
}

// PostgresServer gives t a server of its own until t ends, with an empty
// database. Making one takes a second or two: use Postgres unless the test
// stops it.
//
// Where PostgreSQL's binaries are not to be found it is a fresh database on the
// server that SEALQ_TEST_POSTGRES_URL names, and stopping cuts its connections.
//
// settings, such as fsync=on for a benchmark, are the private server's. Another
// one keeps its own.
func PostgresServer(t testing.TB, settings ...string) *PostgresInstance {
	t.Helper()
	bin, err := fromEnv(PostgresBinEnv, instance.FindPostgres)
	if err == nil {
		return privatePostgres(t, bin, settings)
	}
	shared := os.Getenv(PostgresURLEnv)
	if shared == "" {
		t.Fatal(noServer)
	}
	return proxiedPostgres(t, shared)
}

func privatePostgres(t testing.TB, bin string, settings []string, environ ...string) *PostgresInstance {
	t.Helper()
	server, err := instance.NewPostgres(t.Context(), bin)
	must(t, err)
	server.Settings, server.Environ = settings, environ
	cleanup(t, func(context.Context) error { return server.Close() })
	must(t, server.Start(t.Context()))
	return &PostgresInstance{url: server.URL(), server: server}
}

// URL returns the database's address as --database-url takes it. It stays the
// same when the server is stopped and started.
func (s *PostgresInstance) URL() string { return s.url }

// Stop ends the server in order: sessions are closed and their transactions
// rolled back.
func (s *PostgresInstance) Stop(t testing.TB) {
	t.Helper()
	must(t, s.server.Stop())
}

// Kill ends the server as a crash would. What was committed is there again
// after Start.
func (s *PostgresInstance) Kill(t testing.TB) {
	t.Helper()
	must(t, s.server.Kill())
}

// Start brings the server back with what it held, at the same address.
func (s *PostgresInstance) Start(t testing.TB) {
	t.Helper()
	must(t, s.server.Start(t.Context()))
}

// proxiedServer is a database of somebody else's server behind a proxy.
type proxiedServer struct{ *proxy }

// Start lets connections pass again.
func (s proxiedServer) Start(ctx context.Context) error { return s.Restore(ctx) }

// Stop cuts every connection.
func (s proxiedServer) Stop() error { return s.Cut() }

// Kill cuts every connection.
func (s proxiedServer) Kill() error { return s.Cut() }

func proxiedPostgres(t testing.TB, shared string) *PostgresInstance {
	t.Helper()
	address := freshDatabase(t, shared)
	config, err := pgx.ParseConfig(address)
	must(t, err)
	network, upstream := "tcp", net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	if strings.HasPrefix(config.Host, "/") { // a folder with the server's socket
		network, upstream = "unix", fmt.Sprintf("%s/.s.PGSQL.%d", config.Host, config.Port)
	}
	p, err := newProxy(t.Context(), dialTo(network, upstream, nil))
	must(t, err)
	cleanup(t, func(context.Context) error { return p.Close() })
	must(t, p.Restore(t.Context()))

	u, err := url.Parse(address)
	must(t, err)
	u.Host = p.Addr()
	query := u.Query()
	query.Del("host") // a socket's folder, which would go before the address
	query.Del("port")
	if query.Get("sslmode") == "verify-full" { // the certificate names the server, not the proxy
		query.Set("sslmode", "verify-ca")
	}
	u.RawQuery = query.Encode()
	return &PostgresInstance{url: u.String(), server: proxiedServer{p}}
}
