package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/operators"
)

// newOperator is one of that name.
func newOperator(name string, role operators.Role) operators.NewOperator {
	return operators.NewOperator{
		ID: uuid.NewString(), Name: name, Role: role, PasswordHash: accounts.NewPasswordHash("hash of " + name),
	}
}

func operatorEntry(action string) audit.Entry {
	return audit.Entry{Actor: "cli:alice", Action: action, Subject: "operator/test"}
}

// operator makes one.
func (s suite[Tx]) operator(name string, role operators.Role) operators.NewOperator {
	s.Helper()
	n := newOperator(name, role)
	must(s, s.DB.SaveOperator(s.Context(), n, operatorEntry("operator.added")))
	return n
}

func (s suite[Tx]) found(name string) operators.Credentials {
	s.Helper()
	c, err := s.DB.FindOperator(s.Context(), name)
	must(s, err)
	return c
}

// entries counts what the audit log says of that action.
func (s suite[Tx]) wantEntries(action string, n int) {
	s.Helper()
	equal(s, "entries of "+action, fmt.Sprint(n), s.scalar("SELECT count(*) FROM audit_log WHERE action = '"+action+"'"))
}

// newSession is a complete one for an hour.
func newSession(operatorID, token string) operators.NewSession {
	return operators.NewSession{
		ID: uuid.NewString(), Token: accounts.KeyHash(token), OperatorID: operatorID, Complete: true, Life: time.Hour,
		From: operators.From{Agent: "browser", Remote: "192.0.2.1"},
	}
}

func (s suite[Tx]) session(operatorID, token string) operators.NewSession {
	s.Helper()
	n := newSession(operatorID, token)
	must(s, s.DB.SaveOperatorSession(s.Context(), n, operatorEntry("operator.logged_in")))
	return n
}

const testIdle = 20 * time.Minute

func (s suite[Tx]) use(token string) (operators.Session, error) {
	return s.DB.UseOperatorSession(s.Context(), accounts.KeyHash(token), testIdle, true)
}

func (s suite[Tx]) wantUse(token string, target error) {
	s.Helper()
	_, err := s.use(token)
	want(s, err, target)
}

func (s suite[Tx]) changeOperator(name string, c operators.Change) (changed bool, err error) {
	return s.DB.ChangeOperator(s.Context(), name, c, operatorEntry("operator.changed"))
}

func operatorLoginTests[Tx any]() []test[Tx] {
	yes, no := true, false
	return append(operatorSessionTests[Tx](), []test[Tx]{
		{"an operator is saved once under a name, with its entry, and of racers one saves it", func(s suite[Tx]) {
			before := s.now()
			saved, taken := tally(s, race(12, func(int) error {
				return s.DB.SaveOperator(s.Context(), newOperator("ann", operators.RoleViewer), operatorEntry("operator.added"))
			}), operators.ErrNameTaken)
			equal(s, "saved", 1, saved)
			equal(s, "taken", 11, taken)
			s.wantEntries("operator.added", 1)
			c := s.found("ann")
			near(s, "created at", before, s.now(), c.CreatedAt)
			equal(s, "password", accounts.NewPasswordHash("hash of ann"), c.PasswordHash)
			equal(s, "never logged in", true, c.LoggedInAt == nil)
			for _, name := range []string{"", "Ann", "ann ", "a\x00", "\xff"} {
				_, err := s.DB.FindOperator(s.Context(), name)
				want(s, err, operators.ErrNoSuchOperator)
			}
		}},
		{"operators are listed by the bytes of their names", func(s suite[Tx]) {
			for _, name := range []string{"b", "a.1", "a-1", "a"} {
				s.operator(name, operators.RoleOperator)
			}
			list, err := s.DB.Operators(s.Context())
			must(s, err)
			var names []string
			for _, o := range list {
				names = append(names, o.Name)
			}
			equal(s, "names", "a a-1 a.1 b", strings.Join(names, " "))
		}},
		{"a change is made once, entered once, and ends every session", func(s suite[Tx]) {
			n, other := s.operator("ann", operators.RoleViewer), s.operator("bob", operators.RoleViewer)
			for i, c := range []operators.Change{
				{Role: operators.RoleAdmin},
				{Disabled: &yes},
				{Disabled: &no},
			} {
				if i != 2 { // who is disabled has none
					s.session(n.ID, fmt.Sprint("token", i))
				}
				s.session(other.ID, fmt.Sprint("other", i))
				for _, first := range []bool{true, false} {
					changed, err := s.changeOperator("ann", c)
					must(s, err)
					equal(s, "changed", first, changed)
				}
				s.wantEntries("operator.changed", i+1)
				s.wantUse(fmt.Sprint("token", i), operators.ErrNoSession)
				s.wantUse(fmt.Sprint("other", i), nil)
			}
			equal(s, "role", operators.RoleAdmin, s.found("ann").Role)
			s.session(n.ID, "token")
			changed, err := s.changeOperator("ann", operators.Change{PasswordHash: otherHash()})
			must(s, err)
			equal(s, "changed", true, changed)
			s.wantUse("token", operators.ErrNoSession)
			equal(s, "password", otherHash(), s.found("ann").PasswordHash)
			_, err = s.changeOperator("nobody", operators.Change{Role: operators.RoleAdmin})
			want(s, err, operators.ErrNoSuchOperator)
		}},
		{"a change that clears counters clears those alone", func(s suite[Tx]) {
			s.operator("ann", operators.RoleViewer)
			for _, identifier := range []string{"operator:ann", "operator-code:ann", "operator:bob"} {
				_, err := s.DB.ChargeAttempt(s.Context(), identifier, threeTries())
				must(s, err)
			}
			_, err := s.changeOperator("ann", operators.Change{DropFactor: true, Clears: []string{"operator:ann", "operator-code:ann"}})
			must(s, err)
			equal(s, "left", "operator:bob", s.scalar("SELECT email_norm FROM login_state"))
		}},
	}...)
}

func operatorSessionTests[Tx any]() []test[Tx] {
	yes := true
	return []test[Tx]{
		{"a session says who is logged in, and its token is not what is stored", func(s suite[Tx]) {
			before := s.now()
			n := s.operator("ann", operators.RoleOperator)
			saved := s.session(n.ID, "token")
			got, err := s.use("token")
			must(s, err)
			near(s, "created", before, s.now(), got.CreatedAt)
			near(s, "expires", before.Add(time.Hour), s.now().Add(time.Hour), got.ExpiresAt)
			equal(s, "session", operators.Session{
				ID: saved.ID, OperatorID: n.ID, Name: "ann", Role: operators.RoleOperator, Complete: true,
				CreatedAt: got.CreatedAt, SeenAt: got.SeenAt, ExpiresAt: got.ExpiresAt, From: saved.From,
			}, got)
			s.wantUse("another", operators.ErrNoSession)
			s.wantEntries("operator.logged_in", 1)
			last := s.found("ann").LoggedInAt
			near(s, "last login", before, s.now(), *last)
		}},
		{"one that waits for the code is no login", func(s suite[Tx]) {
			n := newSession(s.operator("ann", operators.RoleAdmin).ID, "token")
			n.Complete = false
			must(s, s.DB.SaveOperatorSession(s.Context(), n, operatorEntry("operator.logged_in")))
			got, err := s.use("token")
			must(s, err)
			equal(s, "complete", false, got.Complete)
			s.wantEntries("operator.logged_in", 0)
			equal(s, "logged in", true, s.found("ann").LoggedInAt == nil)
		}},
		{"a session ends idle, and at its end however much it is used", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleViewer)
			s.session(n.ID, "used")
			s.session(n.ID, "looked at")
			for range 3 { // 45 minutes
				s.backdate(15 * time.Minute)
				s.wantUse("used", nil)
			}
			_, err := s.DB.UseOperatorSession(s.Context(), accounts.KeyHash("looked at"), testIdle, false)
			want(s, err, operators.ErrNoSession)
			s.backdate(15 * time.Minute)
			s.wantUse("used", operators.ErrNoSession)
		}},
		{"what does not touch a session does not prolong it", func(s suite[Tx]) {
			s.session(s.operator("ann", operators.RoleViewer).ID, "token")
			for i, target := range []error{nil, operators.ErrNoSession} {
				s.backdate(time.Duration(i+1) * 5 * time.Minute)
				_, err := s.DB.UseOperatorSession(s.Context(), accounts.KeyHash("token"), 10*time.Minute, false)
				want(s, err, target)
			}
		}},
		{"a session replaces the one before, which must be there and its operator's", func(s suite[Tx]) {
			ann, bob := s.operator("ann", operators.RoleViewer), s.operator("bob", operators.RoleViewer)
			s.session(ann.ID, "first")
			s.session(bob.ID, "bob's")
			replace := func(old, fresh string) error {
				n, hash := newSession(ann.ID, fresh), accounts.KeyHash(old)
				n.Replaces = &hash
				return s.DB.SaveOperatorSession(s.Context(), n, operatorEntry("operator.logged_in"))
			}
			must(s, replace("first", "second"))
			s.wantUse("first", operators.ErrNoSession)
			s.wantUse("second", nil)
			for _, old := range []string{"first", "bob's", "nobody's"} {
				want(s, replace(old, "third"), operators.ErrNoSession)
				s.wantUse("third", operators.ErrNoSession)
			}
			s.wantUse("bob's", nil)
			won, _ := tally(s, race(8, func(i int) error { return replace("second", fmt.Sprint("raced", i)) }), operators.ErrNoSession)
			equal(s, "replaced", 1, won)
			s.wantEntries("operator.logged_in", 4)
		}},
		{"who is disabled, unknown or has another password by now gets no session, and loses those that he has", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleViewer)
			other := newSession(n.ID, "token")
			other.Verified = otherHash()
			want(s, s.DB.SaveOperatorSession(s.Context(), other, operatorEntry("x")), operators.ErrNoSession)
			other.Verified = n.PasswordHash
			must(s, s.DB.SaveOperatorSession(s.Context(), other, operatorEntry("x")))
			_, err := s.changeOperator("ann", operators.Change{Disabled: &yes})
			must(s, err)
			s.wantUse("token", operators.ErrNoSession)
			for _, id := range []string{n.ID, uuid.NewString(), "", "no UUID"} {
				want(s, s.DB.SaveOperatorSession(s.Context(), newSession(id, "late"), operatorEntry("x")), operators.ErrNoSession)
			}
			equal(s, "sessions", "0", s.scalar("SELECT count(*) FROM operator_sessions"))
		}},
		{"a login clears its counters, and throws away what is over", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleViewer)
			s.session(n.ID, "old")
			s.backdate(time.Hour)
			for _, identifier := range []string{"operator:ann", "operator:bob"} {
				_, err := s.DB.ChargeAttempt(s.Context(), identifier, threeTries())
				must(s, err)
			}
			fresh := newSession(n.ID, "fresh")
			fresh.Clears = []string{"operator:ann"}
			must(s, s.DB.SaveOperatorSession(s.Context(), fresh, operatorEntry("x")))
			equal(s, "counters", "operator:bob", s.scalar("SELECT email_norm FROM login_state"))
			equal(s, "sessions", "1", s.scalar("SELECT count(*) FROM operator_sessions"))
		}},
		{"sessions are listed the newest first, and each is ended by its operator alone", func(s suite[Tx]) {
			ann, bob := s.operator("ann", operators.RoleViewer), s.operator("bob", operators.RoleViewer)
			first := s.session(ann.ID, "first")
			s.backdate(time.Minute)
			second := s.session(ann.ID, "second")
			s.session(bob.ID, "bob's")
			list, err := s.DB.OperatorSessions(s.Context(), ann.ID)
			must(s, err)
			if len(list) != 2 || list[0].ID != second.ID || list[1].ID != first.ID {
				s.Fatalf("want %s and %s, got %v", second.ID, first.ID, list)
			}
			for _, c := range []struct {
				operator, id string
				ended        bool
			}{{bob.ID, first.ID, false}, {ann.ID, "no UUID", false}, {"", first.ID, false}, {ann.ID, first.ID, true}, {ann.ID, first.ID, false}} {
				ended, err := s.DB.EndOperatorSession(s.Context(), c.operator, c.id)
				must(s, err)
				equal(s, "ended", c.ended, ended)
			}
			s.wantUse("first", operators.ErrNoSession)
			s.wantUse("second", nil)
		}},
	}
}
