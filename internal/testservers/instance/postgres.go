package instance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Postgres is one PostgreSQL server with a data folder of its own and fsync
// off: it survives its own crash, not the machine's. Its methods are not for
// concurrent use.
type Postgres struct {
	// Settings are NAME=VALUE, for the next Start, and go before those that
	// tests have. Zero: none.
	Settings []string
	// Environ are NAME=VALUE, beside this process's own, for the next Start. Zero: none.
	Environ []string

	bin      string
	dir      string
	account  account
	port     *Port
	password string
	server   *process // nil while stopped
}

// superuser is the role that URL names.
const superuser = "sealq_test"

// NewPostgres makes a data folder with the initdb in the folder bin, and
// reserves a port. Start starts the server.
func NewPostgres(ctx context.Context, bin string) (*Postgres, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, fmt.Errorf("new postgres: %w", err)
	}
	dir, err := os.MkdirTemp(account.tempDir(), "sealq-postgres-")
	if err != nil {
		return nil, fmt.Errorf("new postgres: %w", err)
	}
	p := &Postgres{bin: bin, dir: dir, account: account, password: rand.Text()}
	if err := p.init(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("new postgres: %w", err), os.RemoveAll(dir))
	}
	return p, nil
}

func (p *Postgres) init(ctx context.Context) error {
	passwordFile := filepath.Join(p.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(p.password), 0o600); err != nil {
		return fmt.Errorf("write password: %w", err)
	}
	if err := p.account.own(p.dir, passwordFile); err != nil {
		return err
	}
	// A password, though only the loopback interface is served: other users of
	// this machine reach that too. In clear text, since that costs no key
	// derivation at each of a test's many connections.
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"),
		"--pgdata", p.data(), "--username", superuser, "--pwfile", passwordFile,
		"--auth", "password", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	cmd.Dir = p.dir
	p.account.apply(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	if err := os.Remove(passwordFile); err != nil {
		return fmt.Errorf("remove password: %w", err)
	}
	var err error
	p.port, err = ReservePort(ctx)
	return err
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// URL returns the address of the database postgres, as its superuser. It holds
// the server's password.
func (p *Postgres) URL() string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, p.password),
		Host: p.port.Addr(), Path: "/postgres", RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Addr returns the address, the same at every start.
func (p *Postgres) Addr() string { return p.port.Addr() }

// Start starts the server with what its data folder holds, and returns when it
// answers.
func (p *Postgres) Start(ctx context.Context) error {
	if p.server != nil {
		return errors.New("start postgres: it runs already")
	}
	// The server outlives the call: Stop and Kill end it, not ctx.
	args := []string{
		"-D", p.data(),
		"-p", strconv.Itoa(p.port.Number()),
		"-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=",
		"-c", "max_connections=300",
		// Commits still wait for the write (synchronous_commit stays on), so
		// that none is lost when a test kills the server.
		"-c", "fsync=off",
		"-c", "full_page_writes=off",
	}
	for _, setting := range p.Settings { // of two the later counts
		args = append(args, "-c", setting)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(p.bin, "postgres"), args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), p.Environ...)
	p.account.apply(cmd)
	// SIGQUIT, unlike SIGKILL, makes the server take its children along.
	server, err := startProcess(ctx, cmd, filepath.Join(p.dir, "log"), syscall.SIGQUIT, p.ready)
	if err != nil {
		return fmt.Errorf("start postgres on %s: %w", p.Addr(), err)
	}
	p.server = server
	return nil
}

// ready needs no process ID: no other server knows the password.
func (p *Postgres) ready(ctx context.Context, _ int) error {
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return fmt.Errorf("ask postgres: %w", err)
	}
	return conn.Close(ctx)
}

// Stop ends the server in order: sessions are closed, their transactions rolled
// back, data written. It does nothing while the server is down.
func (p *Postgres) Stop() error { return p.end(syscall.SIGINT) }

// Kill ends the server as a crash would: the next Start recovers from its log.
// It does nothing while the server is down.
func (p *Postgres) Kill() error { return p.end(syscall.SIGQUIT) }

func (p *Postgres) end(sig syscall.Signal) error {
	if p.server == nil {
		return nil
	}
	server := p.server
	p.server = nil
	return server.signal(sig)
}

// Close kills the server where it runs, and gives port and folder back.
func (p *Postgres) Close() error {
	return errors.Join(p.Kill(), p.port.Release(), os.RemoveAll(p.dir))
}
