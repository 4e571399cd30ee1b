package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sealq/sealq/operators"
)

// accountView is one's own sessions, and the keys for scripts: of all for an admin, else one's own.
type accountView struct {
	Name     string
	Role     operators.Role
	Factor   bool
	Sessions []sessionView
	Keys     []keyView
	Fresh    string // a key that was just made, and is shown this once
	Problem  string
}

type sessionView struct {
	ID, Agent, Remote   string
	Current             bool
	Began, Seen, Expire moment
}

type keyView struct {
	ID, Name, Operator  string
	Role                operators.Role
	Made, Expires, Used moment
}

func (d *Dashboard) account(v *visit) error { return d.showAccount(v, http.StatusOK, "", "") }

func (d *Dashboard) showAccount(v *visit, status int, fresh, problem string) error {
	s := v.who.session
	view := accountView{Name: s.Name, Role: s.Role, Factor: s.Factor, Fresh: fresh, Problem: problem}
	sessions, err := d.cfg.Operators.Sessions(v.r.Context(), s.OperatorID)
	if err != nil {
		return err
	}
	for _, other := range sessions {
		view.Sessions = append(view.Sessions, sessionView{
			ID: other.ID, Agent: label(other.From.Agent), Remote: label(other.From.Remote), Current: other.ID == s.ID,
			Began: d.at(other.CreatedAt), Seen: d.at(other.SeenAt), Expire: d.at(other.ExpiresAt),
		})
	}
	keys, err := d.cfg.Operators.Keys(v.r.Context())
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.OperatorID != s.OperatorID && !s.Role.May(operators.RoleAdmin) {
			continue
		}
		one := keyView{ID: k.ID, Name: label(k.Name), Operator: k.Operator, Role: k.Role, Made: d.at(k.CreatedAt), Expires: d.at(k.ExpiresAt)}
		if k.UsedAt != nil {
			one.Used = d.at(*k.UsedAt)
		}
		view.Keys = append(view.Keys, one)
	}
	return v.page(status, "account", "Your account", view)
}

func (d *Dashboard) endSession(v *visit) error {
	if _, err := d.cfg.Operators.EndSession(v.r.Context(), v.who.session.OperatorID, v.r.PostFormValue("id")); err != nil {
		return err
	}
	http.Redirect(v, v.r, "/account", http.StatusSeeOther)
	return nil
}

// mostKeys is how many keys one operator has: an admin's page lists those of all.
const mostKeys = 50

// keyLives are how long a key may be made to live.
func keyLives() map[string]time.Duration {
	const day = 24 * time.Hour
	return map[string]time.Duration{"1d": day, "30d": 30 * day, "90d": 90 * day, "365d": 365 * day}
}

func (d *Dashboard) makeKey(v *visit) error {
	role := operators.Role(v.r.PostFormValue("role"))
	if role == operators.RoleOperator && !v.who.role.May(operators.RoleOperator) {
		return refuse(http.StatusForbidden, "Not for your role", "A key of yours can do no more than you.")
	}
	switch keys, err := d.cfg.Operators.Keys(v.r.Context()); {
	case err != nil:
		return err
	case len(slices.DeleteFunc(keys, func(k operators.Key) bool { return k.OperatorID != v.who.session.OperatorID })) >= mostKeys:
		return d.showAccount(v, http.StatusConflict, "", fmt.Sprintf("You have %d keys: revoke those that are not needed, also if they have ended.", mostKeys))
	}
	secret, err := d.cfg.Operators.NewKey(v.r.Context(), v.who.session, v.r.PostFormValue("name"), role, keyLives()[v.r.PostFormValue("life")])
	if errors.Is(err, operators.ErrInvalidKey) {
		return d.showAccount(v, http.StatusUnprocessableEntity, "", "A key needs a name of 1 to 64 characters, a role and a life.")
	}
	if err != nil {
		return err
	}
	return d.showAccount(v, http.StatusOK, secret, "")
}

// revokeKey ends a key of one's own, or of anybody's for an admin.
func (d *Dashboard) revokeKey(v *visit) error {
	keys, err := d.cfg.Operators.Keys(v.r.Context())
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == v.r.PostFormValue("id") && (k.OperatorID == v.who.session.OperatorID || v.who.role.May(operators.RoleAdmin)) {
			if _, err := d.cfg.Operators.RevokeKey(v.r.Context(), v.who.session, k); err != nil {
				return err
			}
		}
	}
	http.Redirect(v, v.r, "/account", http.StatusSeeOther)
	return nil
}

// operatorView is one who may come in.
type operatorView struct {
	Name             string
	Role             operators.Role
	Disabled, Factor bool
	Made, Last       moment
}

// operators lists who may come in. Changes are made by the command line alone, so that whoever steals an admin's session cannot let
// himself in for good.
func (d *Dashboard) operators(v *visit) error {
	list, err := d.cfg.Operators.List(v.r.Context())
	if err != nil {
		return err
	}
	var views []operatorView
	for _, o := range list {
		one := operatorView{Name: o.Name, Role: o.Role, Disabled: o.Disabled, Factor: o.Factor, Made: d.at(o.CreatedAt)}
		if o.LoggedInAt != nil {
			one.Last = d.at(*o.LoggedInAt)
		}
		views = append(views, one)
	}
	return v.page(http.StatusOK, "operators", "Operators", views)
}
