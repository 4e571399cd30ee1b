package catcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Stage is a moment of a session at which a Hook is asked.
type Stage string

// The stages.
const (
	StageHello Stage = "hello" // EHLO or HELO; again after STARTTLS
	StageAuth  Stage = "auth"  // credentials have come; asked before they are compared
	StageMail  Stage = "mail"  // MAIL FROM
	StageRcpt  Stage = "rcpt"  // RCPT TO; Step.To ends with the address in question
	StageData  Stage = "data"  // the whole message has come and is not answered yet
)

// Step is what a Hook decides about.
type Step struct {
	Session int // counts greetings, from 1
	Stage   Stage
	From    string   // from StageMail on
	To      []string // from StageRcpt on
	Data    []byte   // at StageData
}

// Hook decides what happens at a step: nil goes on; an error made by Answer is sent instead; ErrDrop and ErrKeepAndDrop cut the
// connection; any other error is answered as the stage's own failure. A hook may wait; ctx ends when the catcher stops. It is called
// from every session's goroutine, so it may be called concurrently.
type Hook func(ctx context.Context, s Step) error

// ErrDrop makes a Hook cut the connection without an answer. The mail in question is not kept.
var ErrDrop = errors.New("catcher: cut the connection")

// ErrKeepAndDrop keeps the mail, at StageData, and then cuts the connection: to the sender it looks like ErrDrop.
var ErrKeepAndDrop = errors.New("catcher: keep the mail, then cut the connection")

// Answer makes a Hook answer with a code and a text. At StageData a 2xx keeps the mail; every other code loses it.
func Answer(code int, text string) error { return &smtp.SMTPError{Code: code, Message: text} }

// session is one greeting's worth of a connection; go-smtp calls it from one goroutine.
type session struct {
	catcher *Catcher
	peer    *smtp.Conn
	hook    func(s Step) error
	number  int
	from    string
	to      []string
	authed  bool
}

var _ smtp.AuthSession = (*session)(nil)

func (c *Catcher) newSession(ctx context.Context, peer *smtp.Conn) (*session, error) {
	c.mu.Lock()
	c.sessions++
	s := &session{catcher: c, peer: peer, number: c.sessions, hook: func(s Step) error {
		if c.options.Hook == nil {
			return nil
		}
		return c.options.Hook(ctx, s)
	}}
	c.mu.Unlock()
	if err := s.ask(StageHello); err != nil {
		return nil, err
	}
	return s, nil
}

// ask asks the hook, and cuts the connection if it says so.
func (s *session) ask(stage Stage) error {
	return s.obey(s.hook(Step{Session: s.number, Stage: stage, From: s.from, To: slices.Clone(s.to)}))
}

func (s *session) obey(decision error) error {
	if errors.Is(decision, ErrDrop) || errors.Is(decision, ErrKeepAndDrop) {
		_ = s.peer.Conn().Close() // what go-smtp answers afterwards goes nowhere
	}
	return decision
}

// AuthMechanisms offers PLAIN if somebody has to log in.
func (s *session) AuthMechanisms() []string {
	if s.catcher.options.User == "" {
		return nil
	}
	return []string{sasl.Plain}
}

// Auth compares credentials.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	if mechanism != sasl.Plain || s.catcher.options.User == "" {
		return nil, smtp.ErrAuthUnknownMechanism
	}
	return sasl.NewPlainServer(func(_, user, password string) error {
		if err := s.ask(StageAuth); err != nil {
			return err
		}
		if user != s.catcher.options.User || password != s.catcher.options.Password {
			return smtp.ErrAuthFailed
		}
		s.authed = true
		return nil
	}), nil
}

// Mail takes the sender.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.catcher.options.User != "" && !s.authed {
		return Answer(530, "Authentication required")
	}
	s.from = from
	return s.ask(StageMail)
}

// Rcpt takes a recipient.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	if err := s.ask(StageRcpt); err != nil {
		s.to = s.to[:len(s.to)-1]
		return err
	}
	return nil
}

// Data takes the message.
func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		if refused, ok := errors.AsType[*smtp.SMTPError](err); ok {
			return refused
		}
		return fmt.Errorf("read the message: %w", err)
	}
	err = s.hook(Step{Session: s.number, Stage: StageData, From: s.from, To: slices.Clone(s.to), Data: data})
	answer, answered := errors.AsType[*smtp.SMTPError](err)
	if err == nil || errors.Is(err, ErrKeepAndDrop) || (answered && answer.Code/100 == 2) {
		// Before the connection is cut, so that a sender who sees the cut can count on the mail being there.
		s.catcher.keep(parse(s.from, s.to, data, s.catcher.options.Now()))
	}
	return s.obey(err)
}

// Reset forgets the message in progress.
func (s *session) Reset() { s.from, s.to = "", nil }

// Logout has nothing to free.
func (s *session) Logout() error { return nil }
