// Package brief says in a few words why a server cannot be reached, for sentences that name the server themselves.
package brief

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// briefError keeps the chain whole for errors.Is.
type briefError struct {
	text  string
	cause error
}

func (e *briefError) Error() string { return e.text }
func (e *briefError) Unwrap() error { return e.cause }

// Error leaves out of an error what the sentence around it says already: the operation, the address, the tries.
func Error(err error) error {
	if text := reason(err); text != "" {
		return &briefError{text: text, cause: err}
	}
	return err
}

func reason(err error) string {
	if no, ok := errors.AsType[*pgconn.PgError](err); ok {
		return no.Message
	}
	if host, ok := errors.AsType[*net.DNSError](err); ok {
		return "there is no host " + host.Name
	}
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return cert.Err.Error()
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer in time"
	}
	return ""
}
