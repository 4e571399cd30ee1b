package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"

	"github.com/sealq/sealq/accounts"
)

// An address is a text field: browsers rewrite what stands in one of type email.
func emailField(r *http.Request) field {
	return field{Name: "email", Label: "E-mail address", Type: "text", Autocomplete: "username", Value: r.PostForm.Get("email")}
}

func newPasswordField(label string) field {
	return field{Name: "new", Label: label, Type: "password", Autocomplete: "new-password", Hint: "8 characters or more. A few words are easy to remember and hard to guess."}
}

// checkMail is the one reply to everybody who asks for a mail, whatever stands behind the address.
func (s *Site) checkMail(w http.ResponseWriter, r *http.Request) error {
	return s.say(w, r, http.StatusOK, "Look into your mailbox",
		"If this address can be used for what you asked, a mail is on its way to it. It may take a minute, and may have gone among the spam.")
}

func signupForm(r *http.Request) form {
	return form{ID: "signup", Action: "/signup", Button: "Sign up", Fields: []field{emailField(r), newPasswordField("Password")}}
}

func (s *Site) showSignup(w http.ResponseWriter, r *http.Request) error {
	return s.ask(w, r, "Sign up", "We mail you a link to confirm your address.", signupForm(r))
}

// signup registers. A free and a taken address cost the same hash and are answered alike; the owner of a taken one is told by mail.
func (s *Site) signup(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	err := s.change(ctx, func(tx *sql.Tx) error {
		_, err := s.Users.Register(ctx, tx, accounts.Registration{Email: r.PostForm.Get("email"), Password: r.PostForm.Get("new")})
		return err
	})
	if f, refused := signupForm(r).refused(err, "email", "new"); refused {
		return s.ask(w, r, "Sign up", "", f)
	}
	if err != nil && !errors.Is(err, accounts.ErrThrottled) { // somebody registers it time and again
		return err
	}
	return s.checkMail(w, r)
}

// showConfirm shows a button: whatever scans mails follows links, and must not activate anybody.
func (s *Site) showConfirm(w http.ResponseWriter, r *http.Request) error {
	keyPage(w)
	return s.ask(w, r, "Confirm your address", "This makes your account. You can then log in with your password.",
		form{ID: "confirm", Action: pathConfirm, Button: "Confirm", Key: r.FormValue("key")})
}

// confirm activates, and logs nobody in: whoever has the mailbox need not be who chose the password.
func (s *Site) confirm(w http.ResponseWriter, r *http.Request) error {
	keyPage(w)
	ctx := r.Context()
	err := s.change(ctx, func(tx *sql.Tx) error {
		_, err := s.Users.Activate(ctx, tx, r.PostForm.Get("key"))
		return err
	})
	if errors.Is(err, accounts.ErrUnknownKey) || errors.Is(err, accounts.ErrAlreadyActive) {
		return s.say(w, r, http.StatusGone, "This link does not work",
			"It works once, and for a day. If you have confirmed your address already, log in; if not, sign up again.")
	}
	if err != nil {
		return err
	}
	return s.say(w, r, http.StatusOK, "Your address is confirmed", "Your account is there. Log in with the password that you chose.")
}

func resendForm(r *http.Request) form {
	return form{ID: "resend", Action: "/resend", Button: "Mail it again", Fields: []field{emailField(r)}}
}

const resendText = "If the mail to confirm your address did not come, have it sent once more."

func (s *Site) showResend(w http.ResponseWriter, r *http.Request) error {
	return s.ask(w, r, "No mail?", resendText, resendForm(r))
}

func (s *Site) resend(w http.ResponseWriter, r *http.Request) error {
	email := r.PostForm.Get("email")
	if f, refused := resendForm(r).refused(checkEmail(email), "email", ""); refused {
		return s.ask(w, r, "No mail?", resendText, f)
	}
	err := s.later(r.Context(), "resend", func(ctx context.Context, tx *sql.Tx) error {
		_, err := s.Users.Resend(ctx, tx, email)
		if errors.Is(err, accounts.ErrNotPending) || errors.Is(err, accounts.ErrThrottled) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.checkMail(w, r)
}

// checkEmail is what can be said of an address without looking it up.
func checkEmail(email string) error {
	_, err := accounts.ParseEmail(email)
	return err
}
