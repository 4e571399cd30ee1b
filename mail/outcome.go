package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"unicode"
)

// Outcome says what a failed delivery means for the message, and for the queue behind it.
type Outcome string

// The outcomes. Only the code of the answer and the stage decide between them, never the text of an answer.
const (
	// OutcomePermanent: this message will never reach this recipient through this server. Do not try again.
	OutcomePermanent Outcome = "permanent"
	// OutcomeTemporary: nothing was delivered, and trying again later may help.
	OutcomeTemporary Outcome = "temporary"
	// OutcomeAmbiguous: the whole message was sent, but the answer did not arrive. It may have been delivered; a further attempt
	// may make a second copy, which carries the same Message-ID.
	OutcomeAmbiguous Outcome = "ambiguous"
	// OutcomeConfiguration: the server cannot be used as it is configured, whoever the recipient is. Pause, and tell an operator.
	OutcomeConfiguration Outcome = "configuration"
)

// Stage is the step of a delivery that failed.
type Stage string

// The stages in their order.
const (
	StageMessage  Stage = "message"  // the message itself is refused, before anything is sent
	StageDial     Stage = "dial"     // resolving the host and connecting to it
	StageGreeting Stage = "greeting" // the server's 220
	StageHello    Stage = "hello"    // EHLO or HELO
	StageTLS      Stage = "tls"      // STARTTLS, handshake, certificate
	StageAuth     Stage = "auth"     // AUTH
	StageMail     Stage = "mail"     // MAIL FROM
	StageRcpt     Stage = "rcpt"     // RCPT TO
	StageData     Stage = "data"     // the DATA command, up to its 354
	StageContent  Stage = "content"  // sending the message; the mark at its end was not sent yet
	StageAnswer   Stage = "answer"   // the server's answer to the whole message
)

var (
	errStageTimeout = errors.New("the server did not answer in time")
	errTotalTimeout = errors.New("the time for the whole delivery is over")
	errProtocol     = errors.New("the server's answer is no SMTP reply")
)

// SendError is why a message was not, or perhaps not, delivered.
type SendError struct {
	Stage   Stage
	Code    int     // the server's code; 0: it did not answer
	Reply   string  // the server's text, one line of at most 1,000 bytes, credentials replaced; it may name the recipient
	Outcome Outcome // never empty

	cause error
}

// Error says what happened and what to do. It leaves Reply out, because servers like to repeat the recipient's address in it.
func (e *SendError) Error() string {
	var what string
	switch {
	case e.Code != 0:
		what = fmt.Sprintf("the server answered %d", e.Code)
	default:
		what = fmt.Sprint(e.cause)
	}
	return fmt.Sprintf("smtp %s: %s (%s)%s", e.Stage, what, e.Outcome, e.advice())
}

// Unwrap gives the cause: an error of net or crypto/tls, the context's error, a *MessageError, or the server's *textproto.Error.
func (e *SendError) Unwrap() error { return e.cause }

func (e *SendError) advice() string {
	switch {
	case e.Outcome == OutcomeAmbiguous:
		return "; the message may have been delivered"
	case e.Outcome != OutcomeConfiguration:
		return ""
	case e.Stage == StageTLS:
		return "; check the tls parameter of the SMTP URL and the server's certificate"
	case e.Stage == StageAuth, loginCode(e.Code):
		return "; check user and password of the SMTP URL"
	case e.Code/100 == 5 && (e.Stage == StageMail || e.Stage == StageRcpt):
		return "; check that the server lets this user send from this sender address"
	default:
		return "; check host, port and tls of the SMTP URL, and that the server is up"
	}
}

// Outage says that the server cannot be used, whoever the recipient is: the mail is not to blame, and any other would fare as it did. Such is
// whatever comes before a recipient is named, a 4yz too; from then on a 421 may be of the recipient, and is temporary.
func (e *SendError) Outage() bool {
	return e.Outcome == OutcomeConfiguration || e.Outcome == OutcomeTemporary && e.Code/100 == 4 && e.beforeRcpt()
}

// Answered says that the server answered as one that is up: about the recipient or the message.
func (e *SendError) Answered() bool {
	return e.Code != 0 && e.Code != codeClosing && !e.beforeRcpt() && !e.Outage()
}

func (e *SendError) beforeRcpt() bool {
	switch e.Stage {
	case StageDial, StageGreeting, StageHello, StageTLS, StageAuth, StageMail:
		return true
	case StageMessage, StageRcpt, StageData, StageContent, StageAnswer, stageQuit, stageReset, stageNoop:
	}
	return false
}

// newSendError sorts what went wrong at a stage. hidden replaces what must not be repeated in a server's text.
func newSendError(stage Stage, err error, hidden login) *SendError {
	e := &SendError{Stage: stage, cause: err}
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		e.Code, e.Reply = reply.Code, oneLine(hidden.hide(reply.Msg))
		e.cause = &textproto.Error{Code: e.Code, Msg: e.Reply}
	} else if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		e.cause = errProtocol // its own text repeats the server's line
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		e.cause = fmt.Errorf("the server closed the connection: %w", err)
	}
	e.Outcome = classify(stage, e.Code)
	if e.Outcome == OutcomeConfiguration && errors.Is(err, context.Canceled) {
		e.Outcome = OutcomeTemporary // the caller gave up; that says nothing about the server
	}
	return e
}

// classify decides by stage and code alone (RFC 5321, section 4.2.1: the first digit is what counts).
func classify(stage Stage, code int) Outcome {
	switch {
	case stage == StageMessage:
		return OutcomePermanent
	case code/100 == 4:
		return OutcomeTemporary
	case loginCode(code):
		return OutcomeConfiguration
	}
	switch stage {
	case StageDial, StageGreeting, StageHello, StageTLS, StageAuth, StageMail:
		return OutcomeConfiguration // no recipient has been named yet: our session or our sender is refused
	case StageAnswer:
		if code/100 == 5 {
			return OutcomePermanent
		}
		return OutcomeAmbiguous
	case StageRcpt, StageData, StageContent, StageMessage, stageQuit, stageReset, stageNoop:
	}
	if code/100 == 5 {
		return OutcomePermanent
	}
	return OutcomeTemporary
}

// loginCode reports the codes that speak of authentication whatever command they answer (RFC 4954, section 6).
func loginCode(code int) bool {
	return code == 530 || code == 534 || code == 535 || code == 538
}

const maxReply = 1000

// oneLine makes a server's text fit to be stored and shown: valid UTF-8 without control characters, bounded.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxReply {
		text = strings.ToValidUTF8(text[:maxReply], "")
	}
	return strings.TrimSpace(text)
}
