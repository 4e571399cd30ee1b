package instance_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers/instance"
)

func TestReservedPortIsGivenToNobodyElse(t *testing.T) {
	t.Parallel()
	first, err := instance.ReservePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	if conn, err := lc.ListenPacket(t.Context(), "udp4", first.Addr()); err == nil {
		t.Errorf("a second reservation of %s succeeded", conn.LocalAddr())
	}
	listener, err := lc.Listen(t.Context(), "tcp4", first.Addr())
	if err != nil {
		t.Fatalf("the holder of %s cannot listen on it: %v", first.Addr(), err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	// A process that is just being started by a test beside this one has the socket too, until its exec.
	conn, err := lc.ListenPacket(t.Context(), "udp4", first.Addr())
	for deadline := time.Now().Add(10 * time.Second); err != nil; conn, err = lc.ListenPacket(t.Context(), "udp4", first.Addr()) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is still reserved after its release: %v", first.Addr(), err)
		}
		<-time.After(time.Millisecond)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRedisComesBackEmptyAtTheSameAddress(t *testing.T) {
	t.Parallel()
	binary, err := instance.FindRedis()
	if err != nil {
		t.Fatalf("run `make test`, or install redis-server: %v", err)
	}
	server, err := instance.NewRedis(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err == nil {
		t.Error("a running server was started again")
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Addr()); err == nil {
		t.Errorf("a killed server accepts connections at %s", conn.RemoteAddr())
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size, err := client.DBSize(t.Context()).Result(); size != 0 || err != nil {
		t.Errorf("the restarted server holds %d keys (error %v), want none", size, err)
	}
}

func TestServerThatEndsAtOnceIsReportedWithItsWords(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "redis-server")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho no room left; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := instance.NewRedis(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no room left") {
		t.Errorf("error %v does not have the server's own words, «no room left»", err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

func TestPostgresKeepsWhatWasCommittedThroughACrash(t *testing.T) {
	t.Parallel()
	bin, err := instance.FindPostgres()
	if err != nil {
		t.Fatalf("run `make test`, or install PostgreSQL's server: %v", err)
	}
	server, err := instance.NewPostgres(t.Context(), bin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	for name, end := range map[string]func() error{"stop": server.Stop, "kill": server.Kill} {
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		query(t, server.URL(), "CREATE TABLE "+name+"_survives AS SELECT 1")
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := pgx.Connect(t.Context(), server.URL()); err == nil {
			t.Errorf("the server answers after %s", name)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatalf("start after %s: %v", name, err)
		}
		query(t, server.URL(), "SELECT * FROM "+name+"_survives")
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func query(t *testing.T, url, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), statement)
	if err := errors.Join(err, conn.Close(context.WithoutCancel(t.Context()))); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestPostgresIsReachedByItsPasswordAlone(t *testing.T) {
	t.Parallel()
	bin, err := instance.FindPostgres()
	if err != nil {
		t.Fatalf("run `make test`, or install PostgreSQL's server: %v", err)
	}
	server, err := instance.NewPostgres(t.Context(), bin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	config.Password = "wrong"
	if conn, err := pgx.ConnectConfig(t.Context(), config); err == nil {
		t.Error("another user of this machine gets in without the password")
		_ = conn.Close(t.Context())
	}
}

// Not parallel: it changes PATH.
func TestPostgresIsFoundBehindALinkOnPath(t *testing.T) {
	real, path := t.TempDir(), t.TempDir()
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(real, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(real, "postgres"), filepath.Join(path, "postgres")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", path)
	got, err := instance.FindPostgres()
	if err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks(real)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("found %s, want the folder that holds initdb too, %s", got, want)
	}
	if path, err := instance.FindRedis(); !errors.Is(err, instance.ErrNotInstalled) {
		t.Errorf("found redis-server at %q with error %v, want ErrNotInstalled", path, err)
	}
}
