package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/sealq/sealq/accounts"
)

// readPassword takes the password from standard input: all of it up to one line end, or, at a terminal, what is
// typed at the prompts, unseen. Several prompts must be answered alike.
func (p *program) readPassword(ctx context.Context, prompts ...string) (string, error) {
	if f, ok := p.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return p.askPassword(ctx, int(f.Fd()), prompts)
	}
	// One byte more than a password may have, and the line end, so that a longer one is refused as too long.
	data, err := io.ReadAll(io.LimitReader(p.stdin, accounts.MaxPasswordBytes+3))
	if err != nil {
		return "", fmt.Errorf("read the password from standard input: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if password == "" {
		return "", wrongly("there is no password on standard input: write it there, as in `sealq … < password.txt`")
	}
	return password, nil
}

func (p *program) askPassword(ctx context.Context, fd int, prompts []string) (string, error) {
	first := ""
	for i, prompt := range prompts {
		fmt.Fprint(p.stderr, prompt)
		typed, err := readUnseen(ctx, fd)
		fmt.Fprintln(p.stderr)
		if err != nil {
			return "", fmt.Errorf("read the password from the terminal: %w", err)
		}
		switch {
		case typed == "":
			return "", wrongly("no password was typed")
		case i > 0 && typed != first:
			return "", wrongly("the two passwords differ: type the same one twice")
		}
		first = typed
	}
	return first, nil
}

// readUnseen reads a line without echo. A terminal cannot be told to give up reading: when ctx ends first, the
// reader is left behind for the few moments until the process ends, and the echo is turned on again here.
func readUnseen(ctx context.Context, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err //nolint:wrapcheck // the caller names the operation
	}
	type line struct {
		text []byte
		err  error
	}
	lines := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		lines <- line{text, err}
	}()
	select {
	case l := <-lines:
		return string(l.text), l.err
	case <-ctx.Done():
		if err := term.Restore(fd, before); err != nil {
			return "", err //nolint:wrapcheck // likewise
		}
		return "", ctx.Err() //nolint:wrapcheck // likewise
	}
}
