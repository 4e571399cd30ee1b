package site

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
	return form{ID: "signup", Action: "/signup", Button: "Sign up", Fields: []field{emailField(r)}}
}

const signupText = "We mail you a link, under which you choose your password."

func (s *Site) showSignup(w http.ResponseWriter, r *http.Request) error {
	return s.ask(w, r, "Sign up", signupText, signupForm(r))
}

// signup registers without a password: anybody can type anybody's address here, and whoever has the mailbox chooses it. A free address, one that waits
// and a taken one are answered alike, and without waiting, because they take their own time; the owner of a taken one is told by mail.
func (s *Site) signup(w http.ResponseWriter, r *http.Request) error {
	email := r.PostForm.Get("email")
	if f, refused := signupForm(r).refused(checkEmail(email), "email", ""); refused {
		return s.ask(w, r, "Sign up", signupText, f)
	}
	err := s.later(r.Context(), "signup", func(ctx context.Context, tx *sql.Tx) error {
		_, err := s.Users.Register(ctx, tx, accounts.Registration{Email: email, PasswordLater: true})
		if errors.Is(err, accounts.ErrThrottled) { // somebody registers it time and again: a mail is on its way
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.checkMail(w, r)
}

func confirmForm(key string) form {
	return form{ID: "confirm", Action: PathConfirm, Button: "Make my account", Key: key, Fields: []field{newPasswordField("Password")}}
}

const confirmText = "Choose a password. This confirms your address and makes your account."

// showConfirm shows a form: whatever scans mails follows links, and must not activate anybody.
func (s *Site) showConfirm(w http.ResponseWriter, r *http.Request) error {
	keyPage(w)
	return s.ask(w, r, "Confirm your address", confirmText, confirmForm(r.FormValue("key")))
}

// confirm activates, with the password of whoever opened the link: whoever signed up need not be who has the mailbox.
func (s *Site) confirm(w http.ResponseWriter, r *http.Request) error {
	keyPage(w)
	ctx, key := r.Context(), r.PostForm.Get("key")
	prepared, err := s.Users.PrepareActivation(ctx, key, r.PostForm.Get("new")) // which takes its time, and in SQLite one writes at a time
	if err == nil {
		err = s.change(ctx, func(tx *sql.Tx) error {
			_, err := s.Users.ActivatePrepared(ctx, tx, prepared)
			return err
		})
	}
	if f, refused := confirmForm(key).refused(err, "", "new"); refused {
		return s.ask(w, r, "Confirm your address", confirmText, f)
	}
	if errors.Is(err, accounts.ErrUnknownKey) || errors.Is(err, accounts.ErrAlreadyActive) {
		return s.say(w, r, http.StatusGone, "This link does not work",
			"It works once, and for a day. If you have confirmed your address already, log in; if not, sign up again.")
	}
	if err != nil {
		return err
	}
	return s.say(w, r, http.StatusOK, "Your address is confirmed", "Your account is there. Log in with your password.")
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
