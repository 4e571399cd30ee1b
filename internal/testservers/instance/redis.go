package instance

import (
	"bufio"
	"context"
	"crypto/tls"
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

// RedisConfig says how a redis-server runs. The zero value: alone, in the clear,
// for whoever is there.
type RedisConfig struct {
	// Settings are further arguments, such as "--cluster-enabled", "yes".
	Settings []string
	// Sentinel is the text of its configuration where it watches over others
	// instead of holding data.
	Sentinel string
	// TLS is how to ask whether it is up, over the certificates that Settings
	// name. Zero: in the clear.
	TLS *tls.Config
	// Password of the default user, set by Settings or Sentinel. Zero: none.
	Password string
	// Environ are NAME=VALUE, beside this process's own. Zero: none.
	Environ []string
}

// Redis is one redis-server without persistence: what it holds ends with it.
// Its methods are not for concurrent use.
type Redis struct {
	binary string
	config RedisConfig
	dir    string
	port   *Port
	server *process // nil while stopped
}

// NewRedis reserves a port and a folder for binary, a redis-server. Start starts it.
func NewRedis(ctx context.Context, binary string) (*Redis, error) {
	return NewRedisWith(ctx, binary, RedisConfig{})
}

// NewRedisWith is NewRedis with a configuration.
func NewRedisWith(ctx context.Context, binary string, config RedisConfig) (*Redis, error) {
	dir, err := os.MkdirTemp("", "sealq-redis-")
	if err != nil {
		return nil, fmt.Errorf("new redis: %w", err)
	}
	port, err := ReservePort(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("new redis: %w", err), os.RemoveAll(dir))
	}
	return &Redis{binary: binary, config: config, dir: dir, port: port}, nil
}

// Dir returns the server's folder.
func (r *Redis) Dir() string { return r.dir }

// Addr returns the address, the same at every start.
func (r *Redis) Addr() string { return r.port.Addr() }

// Start starts the server, empty, and returns when it answers.
func (r *Redis) Start(ctx context.Context) error {
	if r.server != nil {
		return errors.New("start redis: it runs already")
	}
	args, err := r.args()
	if err != nil {
		return fmt.Errorf("start redis on %s: %w", r.Addr(), err)
	}
	// The server outlives the call: Kill ends it, not ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), r.binary, args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), r.config.Environ...)
	server, err := startProcess(ctx, cmd, filepath.Join(r.dir, "log"), syscall.SIGKILL, r.ready)
	if err != nil {
		return fmt.Errorf("start redis on %s: %w", r.Addr(), err)
	}
	r.server = server
	return nil
}

// args are the command line. A sentinel writes into its configuration: it has a
// file of its own, made anew at every start.
func (r *Redis) args() ([]string, error) {
	var args []string
	if r.config.Sentinel != "" {
		path := filepath.Join(r.dir, "sentinel.conf")
		if err := os.WriteFile(path, []byte(r.config.Sentinel), 0o600); err != nil {
			return nil, fmt.Errorf("write its configuration: %w", err)
		}
		args = []string{path, "--sentinel"}
	} else {
		args = []string{"--save", "", "--appendonly", "no"}
	}
	port := []string{"--port", strconv.Itoa(r.port.Number())}
	if r.config.TLS != nil {
		port = []string{"--port", "0", "--tls-port", strconv.Itoa(r.port.Number())}
	}
	args = append(args, port...)
	args = append(args, "--bind", "127.0.0.1", "--dir", r.dir, "--daemonize", "no")
	return append(args, r.config.Settings...), nil
}

func (r *Redis) dial(ctx context.Context) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: time.Second}
	if r.config.TLS != nil {
		return (&tls.Dialer{NetDialer: dialer, Config: r.config.TLS}).DialContext(ctx, "tcp4", r.Addr())
	}
	return dialer.DialContext(ctx, "tcp4", r.Addr())
}

// ready asks in Redis's inline form: a client library would log each attempt.
func (r *Redis) ready(ctx context.Context, pid int) error {
	conn, err := r.dial(ctx)
	if err != nil {
		return fmt.Errorf("ask redis: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("ask redis: %w", err)
	}
	question := "INFO server\r\nQUIT\r\n"
	if r.config.Password != "" {
		question = "AUTH " + r.config.Password + "\r\n" + question
	}
	if _, err := io.WriteString(conn, question); err != nil {
		return fmt.Errorf("ask redis: %w", err)
	}
	// QUIT ends it, but for sentinels, which do not know the word.
	said := bufio.NewScanner(conn)
	for said.Scan() {
		if number, found := strings.CutPrefix(said.Text(), "process_id:"); found {
			if number != strconv.Itoa(pid) {
				return fmt.Errorf("another server answers on %s", r.Addr())
			}
			return nil
		}
	}
	return fmt.Errorf("ask redis: it did not tell its process: %w", errors.Join(said.Err(), io.ErrUnexpectedEOF))
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
