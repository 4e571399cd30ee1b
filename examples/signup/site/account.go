package site

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/sealq/sealq/accounts"
)

// overview is what the page of an account shows.
type overview struct {
	Done            string
	Roles           []string
	Sessions        []listed
	Password, Email form
}

// done is what the page says after a change. The address names the sentence and does not hold it: nobody else puts words in our mouth.
func done(name string) string {
	switch name {
	case "password":
		return "Your password is changed, and all other sessions have ended."
	case "email":
		return "We have mailed a link to the new address. Until you open it, nothing changes."
	case "session":
		return "The session has ended."
	case "sessions":
		return "All other sessions have ended."
	}
	return ""
}

func currentPasswordField() field {
	return field{Name: "password", Label: "Password", Type: "password", Autocomplete: "current-password"}
}

func passwordForm() form {
	current := currentPasswordField()
	current.Label = "Present password"
	return form{ID: "change-password", Action: "/account/password", Button: "Change the password", Fields: []field{current, newPasswordField("New password")}}
}

func addressForm(r *http.Request) form {
	address := emailField(r)
	address.Label, address.Autocomplete = "New e-mail address", "email"
	return form{ID: "change-email", Action: "/account/email", Button: "Change the address", Fields: []field{address, currentPasswordField()}}
}

func (s *Site) account(w http.ResponseWriter, r *http.Request, u accounts.User) error {
	return s.overview(w, r, u, passwordForm(), addressForm(r))
}

func (s *Site) overview(w http.ResponseWriter, r *http.Request, u accounts.User, password, address form) error {
	roles, err := s.Users.Roles(r.Context(), u.ID)
	if err != nil {
		return err
	}
	sessions, err := s.list(r.Context(), u)
	if err != nil {
		return err
	}
	return s.write(w, r, max(password.status(), address.status()), "account", view{
		Title: "Your account", Failed: password.failed() || address.failed(),
		More: overview{done(r.URL.Query().Get("done")), roles, sessions, password, address},
	})
}

const notYourPassword = "This is not your password, or too many attempts have failed: then try again later."

// changePassword asks for the present one, which is charged like a login. Every session ends, and this one begins anew.
func (s *Site) changePassword(w http.ResponseWriter, r *http.Request, u accounts.User) error {
	ctx := r.Context()
	proof, err := s.prove(r, u)
	var password accounts.NewPassword
	if err == nil {
		password, err = s.Users.PrepareChange(ctx, proof, r.PostForm.Get("new"))
	}
	var changed accounts.User
	if err == nil {
		err = s.change(ctx, func(tx *sql.Tx) (err error) {
			changed, err = s.Users.SetPassword(ctx, tx, password)
			return err
		})
	}
	if f, refused := s.refusedChange(passwordForm(), err, ""); refused {
		return s.overview(w, r, u, f, addressForm(&http.Request{}))
	}
	if err != nil {
		return err
	}
	if err := s.begin(r, changed); err != nil {
		return err
	}
	return goTo(w, r, "/account?done=password")
}

func (s *Site) refusedChange(f form, err error, email string) (form, bool) {
	if errors.Is(err, accounts.ErrRefused) {
		return f.blame("password", notYourPassword), true
	}
	return f.refused(err, email, "new")
}

// changeEmail mails the new address a link, and tells the old one. Whether the new one has an account is told to whoever opens the link, and to nobody else.
func (s *Site) changeEmail(w http.ResponseWriter, r *http.Request, u accounts.User) error {
	ctx := r.Context()
	proof, err := s.prove(r, u)
	if err == nil {
		err = s.change(ctx, func(tx *sql.Tx) error { return s.Users.RequestEmailChange(ctx, tx, proof, r.PostForm.Get("email")) })
	}
	f, refused := s.refusedChange(addressForm(r), err, "email")
	if errors.Is(err, accounts.ErrThrottled) {
		f.Error, refused = "A link was mailed a short while ago. Try again in a minute.", true
	}
	if refused {
		return s.overview(w, r, u, passwordForm(), f)
	}
	if err != nil {
		return err
	}
	return goTo(w, r, "/account?done=email")
}

func (s *Site) showEmail(w http.ResponseWriter, r *http.Request) error {
	keyPage(w)
	return s.ask(w, r, "Confirm your new address", "From then on you log in with it, and mail goes to it.",
		form{ID: "email", Action: PathEmail, Button: "Confirm", Key: r.FormValue("key")})
}

// confirmEmail needs nobody to be logged in: the link may be opened on the phone that has the mail.
func (s *Site) confirmEmail(w http.ResponseWriter, r *http.Request) error {
	keyPage(w)
	ctx := r.Context()
	var user accounts.User
	err := s.change(ctx, func(tx *sql.Tx) (err error) {
		user, err = s.Users.ConfirmEmailChange(ctx, tx, r.PostForm.Get("key"))
		return err
	})
	if errors.Is(err, accounts.ErrUnknownToken) || errors.Is(err, accounts.ErrAlreadyActive) {
		return s.say(w, r, http.StatusGone, "This link does not work",
			"It works once, for a day, until you ask for another one or change your password, and for an address without an account.")
	}
	if err != nil {
		return err
	}
	if s.sessions.GetString(ctx, sessionUser) == user.ID {
		if err := s.sessions.RenewToken(ctx); err != nil {
			return fmt.Errorf("renew session: %w", err)
		}
	}
	return s.say(w, r, http.StatusOK, "Your address is changed", "Log in with the new one from now on.")
}

func (s *Site) endSession(w http.ResponseWriter, r *http.Request, u accounts.User) error {
	ctx, name := r.Context(), r.PostForm.Get("session")
	if name == s.sessions.GetString(ctx, sessionName) {
		return s.logout(w, r)
	}
	if err := s.end(ctx, u, func(other string) bool { return other == name }); err != nil {
		return err
	}
	return goTo(w, r, "/account?done=session")
}

func (s *Site) endOtherSessions(w http.ResponseWriter, r *http.Request, u accounts.User) error {
	if err := s.end(r.Context(), u, func(string) bool { return true }); err != nil {
		return err
	}
	return goTo(w, r, "/account?done=sessions")
}

// staffOnly asks for the role each time, so that one that was revoked is gone at once.
func (s *Site) staffOnly(w http.ResponseWriter, r *http.Request, u accounts.User) error {
	err := s.staff.Check(r.Context(), u.ID)
	if errors.Is(err, accounts.ErrForbidden) {
		return s.say(w, r, http.StatusForbidden, "Not for you", "This page needs a role that you do not have.")
	}
	if err != nil {
		return err
	}
	return s.write(w, r, http.StatusOK, "staff", view{Title: "For staff"})
}
