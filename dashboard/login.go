package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"rsc.io/qr"

	"github.com/sealq/sealq/operators"
)

// loginView is the page that asks for name and password.
type loginView struct {
	To      string // where to go afterwards
	Name    string
	Problem string
}

// askWho sends a person to the login, and tells a script.
func (d *Dashboard) askWho(v *visit) {
	if v.who.key || v.r.Header.Get(liveHeader) != "" || v.r.URL.Path == "/live" {
		v.Header().Set("WWW-Authenticate", `Bearer realm="sealq"`)
		http.Error(v, "a key of the dashboard is needed, or a login", http.StatusUnauthorized)
		return
	}
	target := "/login"
	if here := v.here(); here != "/" {
		target += "?" + url.Values{"to": {here}}.Encode()
	}
	http.Redirect(v, v.r, target, http.StatusSeeOther)
}

func (d *Dashboard) loginPage(v *visit) error {
	view := loginView{To: local(v.r.URL.Query().Get("to"))}
	switch {
	case v.who.token != "" && v.who.complete:
		http.Redirect(v, v.r, view.To, http.StatusSeeOther)
		return nil
	case v.who.token != "":
		http.Redirect(v, v.r, "/login/code?"+url.Values{"to": {view.To}}.Encode(), http.StatusSeeOther)
		return nil
	}
	if v.r.URL.Query().Get("kept") == "no" {
		view.Problem = "Your browser did not keep the session: it does so only over https, or on this machine by the name localhost."
	}
	return v.page(http.StatusOK, "login", "Log in", view)
}

// login looks at name and password. The session that the browser had, whosever it was, is not used on.
func (d *Dashboard) login(v *visit) error {
	view := loginView{To: local(v.r.PostFormValue("to")), Name: label(v.r.PostFormValue("name"))}
	if !d.limit.allows(v.remote()) {
		view.Problem = "Too many logins from your address. Try again in a minute."
		return v.page(http.StatusTooManyRequests, "login", "Log in", view)
	}
	token, _, err := d.cfg.Operators.Login(v.r.Context(), v.r.PostFormValue("name"), v.r.PostFormValue("password"), v.from())
	if errors.Is(err, operators.ErrRefused) {
		view.Problem = "Name or password is wrong, or too many attempts failed. Try again later."
		return v.page(http.StatusUnauthorized, "login", "Log in", view)
	}
	if err != nil {
		return err
	}
	if v.who.token != "" {
		if err := d.cfg.Operators.Logout(v.r.Context(), v.who.session); err != nil {
			return err
		}
	}
	v.keep(token)
	// By way of the login, which says so where the browser did not keep the cookie, and else leads on.
	http.Redirect(v, v.r, "/login?"+url.Values{"kept": {"no"}, "to": {view.To}}.Encode(), http.StatusSeeOther)
	return nil
}

// codeView asks for a code, and before that shows a factor that is to be enrolled.
type codeView struct {
	To      string
	Problem string
	Enrol   bool
	Action  string // where the form goes
	Secret  string
	QR      qrView
}

func (d *Dashboard) codePage(v *visit) error {
	to := local(v.r.URL.Query().Get("to"))
	if v.who.complete {
		http.Redirect(v, v.r, to, http.StatusSeeOther)
		return nil
	}
	if v.who.session.Factor {
		return v.page(http.StatusOK, "code", "Your code", codeView{To: to, Action: "/login/code"})
	}
	return d.showFactor(v, http.StatusOK, codeView{To: to, Action: "/login/enrol"})
}

// enrolPage shows a factor to somebody who is in without one.
func (d *Dashboard) enrolPage(v *visit) error {
	if v.who.session.Factor {
		return refuse(http.StatusConflict, "You have one already", "To enrol another, have it reset: sealq operators reset-mfa.")
	}
	return d.showFactor(v, http.StatusOK, codeView{To: "/account", Action: "/account/enrol"})
}

func (d *Dashboard) showFactor(v *visit, status int, view codeView) error {
	p, err := d.cfg.Operators.Propose(v.r.Context(), v.who.token)
	if err != nil {
		return err
	}
	view.Enrol, view.Secret = true, p.Secret
	if view.QR, err = newQR(p.URI); err != nil {
		return err
	}
	return v.page(status, "code", "A second factor", view)
}

// code looks at the code of somebody whose password was right.
func (d *Dashboard) code(v *visit) error {
	to := local(v.r.PostFormValue("to"))
	view := codeView{To: to, Action: "/login/code"}
	if !d.limit.allows(v.remote()) {
		view.Problem = "Too many tries from your address. Try again in a minute."
		return v.page(http.StatusTooManyRequests, "code", "Your code", view)
	}
	token, err := d.cfg.Operators.Code(v.r.Context(), v.who.token, v.r.PostFormValue("code"), v.from())
	switch {
	case errors.Is(err, operators.ErrNoSession):
		return errNobody
	case errors.Is(err, operators.ErrNoFactor):
		return errHalfway
	case errors.Is(err, operators.ErrRefused):
		view.Problem = "The code is wrong, was used already, or too many attempts failed. Wait for the next one."
		return v.page(http.StatusUnauthorized, "code", "Your code", view)
	case err != nil:
		return err
	}
	v.keep(token)
	http.Redirect(v, v.r, to, http.StatusSeeOther)
	return nil
}

// enrolled shows the recovery codes, once.
type enrolled struct {
	To    string
	Codes []string
}

func (d *Dashboard) enrol(v *visit) error {
	view := codeView{To: local(v.r.PostFormValue("to")), Action: v.r.URL.Path}
	if v.who.complete && d.cfg.ReadOnly { // who is in would come by the door of those who are not yet
		return errReadOnly()
	}
	if !d.limit.allows(v.remote()) {
		return refuse(http.StatusTooManyRequests, "Too many tries", "Too many tries from your address. Try again in a minute.")
	}
	token, codes, err := d.cfg.Operators.Enrol(v.r.Context(), v.who.token, v.r.PostFormValue("code"), v.from())
	switch {
	case errors.Is(err, operators.ErrNoSession):
		return errNobody
	case errors.Is(err, operators.ErrEnrolled):
		return refuse(http.StatusConflict, "You have one already", "To enrol another, have it reset: sealq operators reset-mfa.")
	case errors.Is(err, operators.ErrRefused):
		view.Problem = "That is not the code that your app should show now. Is the time right on both sides?"
		return d.showFactor(v, http.StatusUnauthorized, view)
	case err != nil:
		return err
	}
	v.keep(token)
	return v.page(http.StatusOK, "enrolled", "Recovery codes", enrolled{To: view.To, Codes: codes})
}

func (d *Dashboard) logout(v *visit) error {
	if err := d.cfg.Operators.Logout(v.r.Context(), v.who.session); err != nil {
		return err
	}
	v.forget()
	http.Redirect(v, v.r, "/login", http.StatusSeeOther)
	return nil
}

// qrView is a QR code as an SVG's path: a picture that needs no address to be loaded from.
type qrView struct {
	Size int
	Path string
}

// quiet is the margin that readers need, in modules.
const quiet = 4

func newQR(text string) (qrView, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return qrView{}, fmt.Errorf("make a QR code: %w", err)
	}
	v := qrView{Size: code.Size + 2*quiet}
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				v.Path += fmt.Sprintf("M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	return v, nil
}
