package testservers

import (
	"context"
	_ "embed" // the clock's source
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealq/sealq/internal/testservers/instance"
)

//go:embed testdata/clock.c
var clockSource []byte

// offClock is the environment of a server whose clock is off. It needs Linux and a C compiler, as the race detector does.
func offClock(t testing.TB, off time.Duration) []string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sealq-clock-") //nolint:usetesting // PostgreSQL's user reads it, too, and may not enter a test's own folder
	must(t, err)
	cleanup(t, func(context.Context) error { return os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	must(t, os.WriteFile(source, clockSource, 0o600))
	compiler := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-O1", "-o", library, source)
	if said, err := compiler.CombinedOutput(); err != nil {
		t.Fatalf("this test gives servers another clock: it needs Linux and a C compiler (on Debian: apt-get install gcc libc6-dev): %v\n%s", err, said)
	}
	return []string{"LD_PRELOAD=" + library, fmt.Sprintf("SEALQ_TEST_CLOCK_OFFSET=%d", int(off.Seconds()))}
}

// RedisWithClock is Redis, always a private server, on a host whose clock is off by whole seconds.
func RedisWithClock(t testing.TB, off time.Duration) *RedisServer {
	t.Helper()
	binary, err := fromEnv(RedisServerEnv, instance.FindRedis)
	if err != nil {
		t.Fatal(noRedisServer)
	}
	return privateRedis(t, binary, instance.RedisConfig{Environ: offClock(t, off)})
}

// PostgresWithClock is PostgresServer, always a private one, on a host whose clock is off by whole seconds.
func PostgresWithClock(t testing.TB, off time.Duration) *PostgresInstance {
	t.Helper()
	bin, err := fromEnv(PostgresBinEnv, instance.FindPostgres)
	if err != nil {
		t.Fatal(noServer)
	}
	return privatePostgres(t, bin, nil, offClock(t, off)...)
}
