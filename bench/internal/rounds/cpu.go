package rounds

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// OwnCPU is what this process has used.
func OwnCPU() Meter {
	return Meter{Name: "own CPU", Read: func() (time.Duration, error) {
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			return 0, fmt.Errorf("read the CPU time used: %w", err)
		}
		return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
	}}
}

// RedisCPU is what a Redis server has used, by its own account.
func RedisCPU(ctx context.Context, c *redis.Client) Meter {
	return Meter{Name: "Redis's", Read: func() (time.Duration, error) {
		info, err := c.Info(ctx, "cpu").Result()
		if err != nil {
			return 0, fmt.Errorf("read Redis's CPU time: %w", err)
		}
		var seconds float64
		for line := range strings.Lines(info) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if name != "used_cpu_sys" && name != "used_cpu_user" {
				continue
			}
			used, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("read Redis's CPU time: %w", err)
			}
			seconds += used
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}}
}

// ticks is how many a second Linux tells a process's CPU time in, on every architecture of Go's (proc(5), USER_HZ).
const ticks = 100

// ProcessCPU is what another process on this machine has used, as Linux accounts for it, in steps of 10 ms. Elsewhere it is zero.
func ProcessCPU(name string, pid int) Meter {
	return Meter{Name: name, Read: func() (time.Duration, error) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, nil //nolint:nilerr // another system
		}
		_, after, _ := strings.Cut(string(stat), ") ") // the program's name may have blanks
		fields := strings.Fields(after)
		if len(fields) < 13 {
			return 0, fmt.Errorf("read the CPU time of process %d: %q", pid, stat)
		}
		var used time.Duration
		for _, field := range fields[11:13] { // utime, stime
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
			}
			used += time.Duration(n) * time.Second / ticks
		}
		return used, nil
	}}
}

// PostgresCPU is what the sessions of a database on this machine have used, as Linux accounts for them. Elsewhere it is zero.
func PostgresCPU(ctx context.Context, pool *pgxpool.Pool) Meter {
	return Meter{Name: "PostgreSQL's", Read: func() (time.Duration, error) {
		rows, err := pool.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE datname = current_database()`)
		if err != nil {
			return 0, fmt.Errorf("read PostgreSQL's CPU time: %w", err)
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil {
			return 0, fmt.Errorf("read PostgreSQL's CPU time: %w", err)
		}
		var used time.Duration
		for _, pid := range pids {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
			if err != nil {
				continue // a server on another machine
			}
			nanoseconds, _, _ := strings.Cut(string(stat), " ")
			ran, err := strconv.ParseInt(nanoseconds, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read PostgreSQL's CPU time: %w", err)
			}
			used += time.Duration(ran)
		}
		return used, nil
	}}
}
