package site

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/sealq/sealq/accounts"
)

// What a session holds.
const (
	sessionUser  = "user"  // ID
	sessionMark  = "mark"  // the user's SessionsValidAfter when it began
	sessionName  = "name"  // what it is called in the list: the token itself opens it
	sessionBegan = "began" // Unix time
	sessionAgent = "agent" // the browser
)

// deviceTTL is accounts.Config.DeviceTTL's default.
const deviceTTL = 180 * 24 * time.Hour

// newSessions keeps sessions in memory, which a restart ends: scs has stores for databases. There is no IdleTimeout, because with one every request
// writes its session back, and one that is under way would bring back a session that was just ended.
func (s *Site) newSessions() *scs.SessionManager {
	sessions := scs.New()
	sessions.Lifetime = 7 * 24 * time.Hour
	sessions.Cookie.Name, sessions.Cookie.Secure = s.cookieName("session"), s.https
	sessions.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
		s.Logger.ErrorContext(r.Context(), "session not read or written", slog.Any("error", err))
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
	}
	return sessions
}

// cookieName makes the browser itself hold cookies to our host and to HTTPS, where there is HTTPS.
func (s *Site) cookieName(name string) string {
	if s.https {
		return "__Host-" + name
	}
	return name
}

// begin begins a session: what the browser had before is void, its token too, so that nobody can have planted or kept it.
func (s *Site) begin(r *http.Request, u accounts.User) error {
	ctx := r.Context()
	if err := errors.Join(s.sessions.Clear(ctx), s.sessions.RenewToken(ctx)); err != nil {
		return fmt.Errorf("begin session: %w", err)
	}
	s.sessions.Put(ctx, sessionUser, u.ID)
	s.sessions.Put(ctx, sessionMark, mark(u))
	s.sessions.Put(ctx, sessionName, rand.Text())
	s.sessions.Put(ctx, sessionBegan, s.Now().Unix())
	s.sessions.Put(ctx, sessionAgent, cut(cmp.Or(r.UserAgent(), "a browser without a name"), 120))
	return nil
}

// mark is another one after each new password, and when an account was disabled. Comparing the marks themselves, and not a time with a time, needs no two clocks
// that agree.
func mark(u accounts.User) int64 {
	if u.SessionsValidAfter.IsZero() {
		return 0
	}
	return u.SessionsValidAfter.UnixNano()
}

// current is who is logged in. The store is asked each time, so that a session ends with the password under which it began.
func (s *Site) current(ctx context.Context) (_ accounts.User, ok bool, err error) {
	id := s.sessions.GetString(ctx, sessionUser)
	if id == "" {
		return accounts.User{}, false, nil
	}
	owner, err := s.DB.UserByID(ctx, id)
	if err == nil && mark(owner.User) == s.sessions.GetInt64(ctx, sessionMark) {
		return owner.User, true, nil
	}
	if err == nil || errors.Is(err, accounts.ErrNoSuchUser) {
		err = s.drop(ctx)
	}
	return accounts.User{}, false, err
}

// member shows a page to whoever is logged in, and the way there to everybody else.
func (s *Site) member(p func(http.ResponseWriter, *http.Request, accounts.User) error) page {
	return func(w http.ResponseWriter, r *http.Request) error {
		user, ok, err := s.current(r.Context())
		if err != nil {
			return err
		}
		if !ok {
			return goTo(w, r, "/login")
		}
		return p(w, r, user)
	}
}

// goTo leads to a path of ours, never to anything that a request named.
func goTo(w http.ResponseWriter, r *http.Request, path string) error {
	http.Redirect(w, r, path, http.StatusSeeOther)
	return nil
}

// listed is a session in the list.
type listed struct {
	Name, Agent string
	Began       time.Time
	Current     bool
}

// each calls fn with every session of a user that has not ended. It reads all sessions that there are: with many users, keep a table of them by user.
func (s *Site) each(ctx context.Context, u accounts.User, fn func(ctx context.Context) error) error {
	err := s.sessions.Iterate(ctx, func(ctx context.Context) error {
		if s.sessions.GetString(ctx, sessionUser) != u.ID || s.sessions.GetInt64(ctx, sessionMark) != mark(u) {
			return nil
		}
		return fn(ctx)
	})
	if err != nil {
		return fmt.Errorf("look at the sessions: %w", err)
	}
	return nil
}

func (s *Site) list(ctx context.Context, u accounts.User) ([]listed, error) {
	var all []listed
	own := s.sessions.GetString(ctx, sessionName)
	err := s.each(ctx, u, func(ctx context.Context) error {
		name := s.sessions.GetString(ctx, sessionName)
		all = append(all, listed{
			Name: name, Agent: s.sessions.GetString(ctx, sessionAgent),
			Began: time.Unix(s.sessions.GetInt64(ctx, sessionBegan), 0).UTC(), Current: name == own,
		})
		return nil
	})
	slices.SortFunc(all, func(a, b listed) int { return cmp.Or(b.Began.Compare(a.Began), cmp.Compare(a.Name, b.Name)) })
	return all, err
}

// end ends those of the user's sessions, this one apart, whose name is to end.
func (s *Site) end(ctx context.Context, u accounts.User, ends func(name string) bool) error {
	own := s.sessions.GetString(ctx, sessionName)
	return s.each(ctx, u, func(ctx context.Context) error {
		if name := s.sessions.GetString(ctx, sessionName); name == own || !ends(name) {
			return nil
		}
		return s.drop(ctx)
	})
}

// drop ends the session that ctx has.
func (s *Site) drop(ctx context.Context) error {
	if err := s.sessions.Destroy(ctx); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// device is the token that this browser got when it last logged in.
func (s *Site) device(r *http.Request) accounts.Device {
	cookie, err := r.Cookie(s.cookieName("device"))
	if err != nil {
		return accounts.Device{}
	}
	return accounts.ParseDevice(cookie.Value)
}

func (s *Site) setDevice(w http.ResponseWriter, d accounts.Device) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // G124: Secure wherever there is HTTPS
		Name: s.cookieName("device"), Value: d.RevealText(), Path: "/", MaxAge: int(deviceTTL.Seconds()),
		Secure: s.https, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
