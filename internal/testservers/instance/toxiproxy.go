package instance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// Toxiproxy is one process of Shopify's toxiproxy: proxies whose connections can be spoiled in many ways, through its API.
type Toxiproxy struct {
	dir    string
	port   *Port
	server *process
}

// StartToxiproxy starts binary. What it does by chance follows from seed.
func StartToxiproxy(ctx context.Context, binary string, seed uint64) (*Toxiproxy, error) {
	dir, err := os.MkdirTemp("", "sealq-toxiproxy-")
	if err != nil {
		return nil, fmt.Errorf("start toxiproxy: %w", err)
	}
	port, err := ReservePort(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start toxiproxy: %w", err), os.RemoveAll(dir))
	}
	x := &Toxiproxy{dir: dir, port: port}
	// It outlives the call: Close ends it, not ctx.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary,
		"-host", "127.0.0.1", "-port", strconv.Itoa(port.Number()), "-seed", strconv.FormatInt(int64(seed>>1), 10))
	cmd.Env = append(os.Environ(), "LOG_LEVEL=error")
	if x.server, err = startProcess(ctx, cmd, filepath.Join(dir, "log"), syscall.SIGKILL, x.ready); err != nil {
		return nil, errors.Join(fmt.Errorf("start toxiproxy: %w", err), x.Close())
	}
	return x, nil
}

// API returns the address of its HTTP API, http://HOST:PORT.
func (x *Toxiproxy) API() string { return "http://" + x.port.Addr() }

func (x *Toxiproxy) ready(ctx context.Context, _ int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, x.API()+"/version", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask toxiproxy: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask toxiproxy: %w", err)
	}
	return answer.Body.Close()
}

// Close ends it, and gives port and folder back.
func (x *Toxiproxy) Close() error {
	var err error
	if x.server != nil {
		err = x.server.signal(syscall.SIGKILL)
	}
	return errors.Join(err, x.port.Release(), os.RemoveAll(x.dir))
}
