package mail

import (
	"context"
	"errors"
	"io"
	"net"
	"net/textproto"
)

// clean makes an error fit to be shown that is no reply of the server, and may yet have words of the server in it: the names of a certificate, or what it
// says in the middle of a login, when it has the password.
func clean(stage Stage, err error, hidden login) error {
	if _, protocol := errors.AsType[textproto.ProtocolError](err); protocol {
		return err // newSendError has words of its own for it
	}
	text := err.Error()
	said := text
	if stage == StageAuth && !ofTheNet(err) {
		said = hidden.hide(text)
	}
	cleaned := &cleanError{text: oneLine(said)}
	switch {
	case cleaned.text == text:
		return err
	case said == text:
		cleaned.cause = err
	}
	return cleaned
}

// ofTheNet says of an error that it has none of the server's words, though a user's name may happen to be in it.
func ofTheNet(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, errStageTimeout) || errors.Is(err, errTotalTimeout)
}

// cleanError has the words of an error that was not fit to be shown. Of one that held credentials the cause is nil: it must not be found either.
type cleanError struct {
	text  string
	cause error
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.cause }
