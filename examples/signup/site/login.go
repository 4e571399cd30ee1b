package site

import (
	"context"
	"database/sql"
	"errors"
	"net/http"

	"github.com/sealq/sealq/accounts"
)

func loginForm(r *http.Request) form {
	return form{ID: "login", Action: "/login", Button: "Log in", Fields: []field{
		emailField(r), {Name: "password", Label: "Password", Type: "password", Autocomplete: "current-password"},
	}}
}

func (s *Site) showLogin(w http.ResponseWriter, r *http.Request) error {
	return s.ask(w, r, "Log in", "", loginForm(r))
}

// login asks outside any transaction: the attempt counts whatever comes after.
func (s *Site) login(w http.ResponseWriter, r *http.Request) error {
	user, err := s.authenticate(w, r)
	if errors.Is(err, accounts.ErrRefused) {
		f := loginForm(r)
		f.Error = "The address or the password is wrong, or too many attempts have failed: then try again later."
		return s.ask(w, r, "Log in", "", f)
	}
	if err != nil {
		return err
	}
	if err := s.begin(r, user); err != nil {
		return err
	}
	return goTo(w, r, "/account")
}

func (s *Site) authenticate(w http.ResponseWriter, r *http.Request) (accounts.User, error) {
	email, password := r.PostForm.Get("email"), r.PostForm.Get("password")
	if !s.Devices {
		return s.Users.Authenticate(r.Context(), email, password)
	}
	user, device, err := s.Users.AuthenticateDevice(r.Context(), email, password, s.device(r))
	if err == nil {
		s.setDevice(w, device)
	}
	return user, err
}

// prove asks whoever is logged in for his password, with the token of his browser where browsers get one: a stranger who keeps the address locked keeps
// nobody from changing his password.
func (s *Site) prove(r *http.Request, u accounts.User) (accounts.Proof, error) {
	device := accounts.Device{}
	if s.Devices {
		device = s.device(r)
	}
	return s.Users.ProveDevice(r.Context(), u.ID, r.PostForm.Get("password"), device)
}

func (s *Site) logout(w http.ResponseWriter, r *http.Request) error {
	if err := s.drop(r.Context()); err != nil {
		return err
	}
	return s.say(w, r, http.StatusOK, "You are logged out", "See you.")
}

func forgotForm(r *http.Request) form {
	return form{ID: "forgot", Action: "/forgot", Button: "Mail me a link", Fields: []field{emailField(r)}}
}

const forgotText = "We mail you a link under which you choose a new one."

func (s *Site) showForgot(w http.ResponseWriter, r *http.Request) error {
	return s.ask(w, r, "Forgot your password?", forgotText, forgotForm(r))
}

func (s *Site) forgot(w http.ResponseWriter, r *http.Request) error {
	email := r.PostForm.Get("email")
	if f, refused := forgotForm(r).refused(checkEmail(email), "email", ""); refused {
		return s.ask(w, r, "Forgot your password?", forgotText, f)
	}
	err := s.later(r.Context(), "reset", func(ctx context.Context, tx *sql.Tx) error { return s.Users.RequestReset(ctx, tx, email) })
	if err != nil {
		return err
	}
	return s.checkMail(w, r)
}

func resetForm(key string) form {
	return form{ID: "reset", Action: PathReset, Button: "Set the new password", Key: key, Fields: []field{newPasswordField("New password")}}
}

const resetText = "All sessions end, and the link works no more."

func (s *Site) showReset(w http.ResponseWriter, r *http.Request) error {
	keyPage(w)
	return s.ask(w, r, "Choose a new password", resetText, resetForm(r.FormValue("key")))
}

func (s *Site) reset(w http.ResponseWriter, r *http.Request) error {
	keyPage(w)
	ctx, key := r.Context(), r.PostForm.Get("key")
	password, err := s.Users.PrepareReset(ctx, key, r.PostForm.Get("new"))
	if err == nil {
		err = s.change(ctx, func(tx *sql.Tx) error {
			_, err := s.Users.SetPassword(ctx, tx, password)
			return err
		})
	}
	if f, refused := resetForm(key).refused(err, "", "new"); refused {
		return s.ask(w, r, "Choose a new password", resetText, f)
	}
	if errors.Is(err, accounts.ErrUnknownToken) {
		return s.say(w, r, http.StatusGone, "This link does not work", "It works once, and for an hour. Ask for a new one.")
	}
	if err != nil {
		return err
	}
	return s.say(w, r, http.StatusOK, "Your password is changed", "Log in with the new one.")
}
