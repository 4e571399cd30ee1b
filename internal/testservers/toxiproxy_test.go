package testservers_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
)

// reached says whether a Redis answers over a new connection within a second.
func reached(t *testing.T, addr string) error {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return client.Ping(ctx).Err()
}

func TestToxiproxySpoilsConnectionsUntilTheToxicIsRemoved(t *testing.T) {
	t.Parallel()
	x := testservers.NewToxiproxy(t, 1)
	addr := x.Proxy(t, "redis", testservers.Redis(t).Addr())
	if err := reached(t, addr); err != nil {
		t.Fatalf("before: %v", err)
	}
	x.Add(t, "redis", testservers.Toxic{Name: "half-open", Type: "timeout", Stream: "downstream", Attributes: map[string]int{"timeout": 0}})
	if err := reached(t, addr); err == nil {
		t.Error("an answer passed a toxic that lets nothing pass")
	}
	x.Remove(t, "redis", "half-open")
	if err := reached(t, addr); err != nil {
		t.Errorf("after: %v", err)
	}
}

func TestOverAStrandedConnectionNothingPassesAndNewOnesWork(t *testing.T) {
	t.Parallel()
	line := testservers.NewLine(t, testservers.Redis(t).Addr())
	client := redis.NewClient(&redis.Options{Addr: line.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true})
	defer client.Close()
	conn := client.Conn()
	defer conn.Close()
	if err := conn.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("before: %v", err)
	}
	line.Strand()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := conn.Ping(ctx).Err()
	if silent, ok := errors.AsType[net.Error](err); !ok || !silent.Timeout() {
		t.Errorf("the stranded connection says %v, want silence", err)
	}
	if err := reached(t, line.Addr()); err != nil {
		t.Errorf("a new connection: %v", err)
	}
}
