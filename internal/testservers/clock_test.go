package testservers_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/internal/testservers"
)

func TestServersOnAHostWithAnotherClockTellItsTime(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-30 * time.Second, 30 * time.Second} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			tells := func(server string, now time.Time) {
				if got := time.Until(now); (got - off).Abs() > 10*time.Second {
					t.Errorf("the clock of %s is off by %v, want %v", server, got, off)
				}
			}
			redis := testservers.RedisWithClock(t, off).Client(t)
			redisTime, err := redis.Time(t.Context()).Result()
			if err != nil {
				t.Fatal(err)
			}
			tells("Redis", redisTime)
			conn, err := pgx.Connect(t.Context(), testservers.PostgresWithClock(t, off).URL())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			var postgresTime time.Time
			if err := conn.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&postgresTime); err != nil {
				t.Fatal(err)
			}
			tells("PostgreSQL", postgresTime)
		})
	}
}
