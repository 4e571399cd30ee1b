package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Redis is one redis-server without persistence: what it holds ends with it.
// Its methods are not for concurrent use.
type Redis struct {
	binary string
	dir    string
	port   *Port
	server *process // nil while stopped
}

// NewRedis reserves a port and a folder for binary, a redis-server. Start starts it.
func NewRedis(ctx context.Context, binary string) (*Redis, error) {
	dir, err := os.MkdirTemp("", "sealq-redis-")
	if err != nil {
		return nil, fmt.Errorf("new redis: %w", err)
	}
	port, err := ReservePort(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("new redis: %w", err), os.RemoveAll(dir))
	}
	return &Redis{binary: binary, dir: dir, port: port}, nil
}

// Addr returns the address, the same at every start.
func (r *Redis) Addr() string { return r.port.Addr() }

// Start starts the server, empty, and returns when it answers.
func (r *Redis) Start(ctx context.Context) error {
	if r.server != nil {
		return errors.New("start redis: it runs already")
	}
	// The server outlives the call: Kill ends it, not ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), r.binary,
		"--bind", "127.0.0.1",
		"--port", strconv.Itoa(r.port.Number()),
		"--dir", r.dir,
		"--save", "",
		"--appendonly", "no",
		"--daemonize", "no",
	)
	cmd.Dir = r.dir
	server, err := startProcess(ctx, cmd, filepath.Join(r.dir, "log"), syscall.SIGKILL, r.ready)
	if err != nil {
		return fmt.Errorf("start redis on %s: %w", r.Addr(), err)
	}
	r.server = server
	return nil
}

// ready asks in Redis's inline form: a client library would log each attempt.
func (r *Redis) ready(ctx context.Context, pid int) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp4", r.Addr())
	if err != nil {
		return fmt.Errorf("ask redis: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("ask redis: %w", err)
	}
	if _, err := io.WriteString(conn, "INFO server\r\nQUIT\r\n"); err != nil {
		return fmt.Errorf("ask redis: %w", err)
	}
	info, err := io.ReadAll(conn) // QUIT ends it
	if err != nil {
		return fmt.Errorf("ask redis: %w", err)
	}
	if !strings.Contains(string(info), fmt.Sprintf("process_id:%d\r", pid)) {
		return fmt.Errorf("another server answers on %s", r.Addr())
	}
	return nil
}

// Kill ends the server by SIGKILL, as a crash would; the port stays reserved.
func (r *Redis) Kill() error {
	if r.server == nil {
		return nil
	}
	server := r.server
	r.server = nil
	return server.signal(syscall.SIGKILL)
}

// Freeze stops the server in its tracks: connections stay open and nothing answers, until Thaw.
func (r *Redis) Freeze() error { return r.send(syscall.SIGSTOP) }

// Thaw lets a frozen server go on with all that it holds.
func (r *Redis) Thaw() error { return r.send(syscall.SIGCONT) }

func (r *Redis) send(sig syscall.Signal) error {
	if r.server == nil {
		return errors.New("freeze or thaw redis: it is not running")
	}
	if err := r.server.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("freeze or thaw redis: %w", err)
	}
	return nil
}

// Close kills the server where it runs, and gives port and folder back.
func (r *Redis) Close() error {
	return errors.Join(r.Kill(), r.port.Release(), os.RemoveAll(r.dir))
}
