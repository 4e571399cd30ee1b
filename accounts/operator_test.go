package accounts_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

func (s system) operator() accounts.Operator[*modelTx] { return s.Operator("cli:alice") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestADisabledAccountCannotLogInAndItsSessionsAndLinksAreOver(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	key := s.resetKey(t, u)
	p := s.proof(t, u)
	s.db.Advance(time.Minute)
	must(t, s.operator().Disable(t.Context(), s.db.begin(), u.ID))
	s.mustRefuse(t, goodEmail, goodPassword)
	wantErr(t, s.reset(t, key, otherPassword), accounts.ErrUnknownToken)
	wantErr(t, s.change(t, p, otherPassword), accounts.ErrRefused)
	if got := s.db.users[goodEmail].SessionsValidAfter; !got.Equal(s.db.Now()) {
		t.Errorf("sessions are valid after %v", got)
	}
	must(t, s.operator().Enable(t.Context(), s.db.begin(), u.ID))
	wantErr(t, s.reset(t, key, otherPassword), accounts.ErrUnknownToken)
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestAnOperatorsLockIsLiftedByAnOperatorOrTimeAlone(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	u := s.activated(t, goodEmail, goodPassword)
	must(t, s.operator().Lock(t.Context(), s.db.begin(), "JANE@example.com", time.Hour))
	s.mustRefuse(t, goodEmail, goodPassword)
	must(t, s.reset(t, s.resetKey(t, u), otherPassword))
	s.mustRefuse(t, goodEmail, otherPassword)
	must(t, s.operator().Unlock(t.Context(), s.db.begin(), goodEmail))
	s.mustLogIn(t, goodEmail, otherPassword) // this process forgets at once what it remembered
	must(t, s.operator().Lock(t.Context(), s.db.begin(), goodEmail, time.Hour))
	s.db.Advance(time.Hour)
	s.guess(t, goodEmail, 2)
	s.mustLogIn(t, goodEmail, otherPassword)
}

func TestALockSetWhileAPasswordIsVerifiedIsNotLiftedByItsSuccess(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.activated(t, goodEmail, goodPassword)
	s.db.onRecord = func() { must(t, s.operator().Lock(context.Background(), s.db.begin(), goodEmail, time.Hour)) }
	s.mustRefuse(t, goodEmail, goodPassword)
	s.db.onRecord = nil
	s.db.Advance(time.Minute)
	s.mustRefuse(t, goodEmail, goodPassword)
}

func TestWhatOperatorsChangeIsRecordedOnceWithTheirName(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	before := len(s.db.changes)
	o, ctx := s.operator(), t.Context()
	for range 2 {
		must(t, o.Disable(ctx, s.db.begin(), u.ID))
	}
	for range 2 {
		must(t, o.Enable(ctx, s.db.begin(), u.ID))
	}
	must(t, o.Lock(ctx, s.db.begin(), goodEmail, time.Hour))
	for range 2 {
		must(t, o.Unlock(ctx, s.db.begin(), goodEmail))
	}
	for range 2 {
		must(t, o.Grant(ctx, s.db.begin(), u.ID, "admin"))
	}
	for range 2 {
		must(t, o.Revoke(ctx, s.db.begin(), u.ID, "admin"))
	}
	user, role := "user/"+u.ID, map[string]string{"role": "admin"}
	want := []accounts.Change{
		{Actor: "cli:alice", Action: "account.disabled", Subject: user},
		{Actor: "cli:alice", Action: "account.enabled", Subject: user},
		{Actor: "cli:alice", Action: "account.locked", Subject: user, Detail: map[string]string{"for": "1h0m0s"}},
		{Actor: "cli:alice", Action: "account.unlocked", Subject: user},
		{Actor: "cli:alice", Action: "account.role_granted", Subject: user, Detail: role},
		{Actor: "cli:alice", Action: "account.role_revoked", Subject: user, Detail: role},
	}
	if diff := cmp.Diff(want, s.db.changes[before:]); diff != "" {
		t.Error(diff)
	}
}

func TestAShorterLockDoesNotShortenALongerOne(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	before := len(s.db.changes)
	for _, d := range []time.Duration{time.Hour, time.Minute, 59 * time.Minute} {
		must(t, s.operator().Lock(t.Context(), s.db.begin(), goodEmail, d))
	}
	if n := len(s.db.changes) - before; n != 1 {
		t.Errorf("%d entries: what changes nothing is none", n)
	}
	s.db.Advance(time.Hour - time.Second)
	s.mustRefuse(t, goodEmail, goodPassword)
	s.db.Advance(time.Second)
	s.mustLogIn(t, goodEmail, goodPassword)
}

// Two addresses that are redacted alike are told apart, and neither is shown.
func TestALockOfAnAddressWithoutAccountSaysWhichAddress(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	var subjects []string
	for _, email := range []string{"Jane@example.com", "jane@EXAMPLE.com", "joe@example.com"} {
		before := len(s.db.changes)
		must(t, s.operator().Lock(t.Context(), s.db.begin(), email, time.Hour))
		must(t, s.operator().Unlock(t.Context(), s.db.begin(), email))
		parsed, err := accounts.ParseEmail(email)
		must(t, err)
		want := []accounts.Change{
			{Actor: "cli:alice", Action: "account.locked", Subject: parsed.Subject(), Detail: map[string]string{"for": "1h0m0s", "email": "j***@example.com"}},
			{Actor: "cli:alice", Action: "account.unlocked", Subject: parsed.Subject(), Detail: map[string]string{"email": "j***@example.com"}},
		}
		if diff := cmp.Diff(want, s.db.changes[before:]); diff != "" {
			t.Error(diff)
		}
		subjects = append(subjects, parsed.Subject())
	}
	// A golden: entries are kept for years.
	if want := "identifier/4d6f143e37d6bbd9"; subjects[0] != want || subjects[1] != want || subjects[2] == want {
		t.Errorf("the subjects are %q, want %s twice and another", subjects, want)
	}
}

func TestWhatOperatorsCannotDo(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	before, o, nobody, ctx, tx := len(s.db.changes), s.operator(), s.Operator(""), t.Context(), s.db.begin()
	for name, test := range map[string]struct{ err, want error }{
		"disable nobody":       {o.Disable(ctx, tx, "nobody"), accounts.ErrNoSuchUser},
		"enable nobody":        {o.Enable(ctx, tx, ""), accounts.ErrNoSuchUser},
		"grant to nobody":      {o.Grant(ctx, tx, "nobody", "admin"), accounts.ErrNoSuchUser},
		"revoke from nobody":   {o.Revoke(ctx, tx, "nobody", "admin"), accounts.ErrNoSuchUser},
		"lock what is nothing": {o.Lock(ctx, tx, "jane", time.Hour), accounts.ErrInvalidEmail},
		"unlock two":           {o.Unlock(ctx, tx, "a@example.com,b@example.com"), accounts.ErrInvalidEmail},
		"no name, disable":     {nobody.Disable(ctx, tx, u.ID), accounts.ErrNoActor},
		"no name, lock":        {nobody.Lock(ctx, tx, goodEmail, time.Hour), accounts.ErrNoActor},
		"no name, grant":       {nobody.Grant(ctx, tx, u.ID, "admin"), accounts.ErrNoActor},
		"a blank role":         {o.Grant(ctx, tx, u.ID, ""), accounts.ErrInvalidRole},
		"a role with a space":  {o.Grant(ctx, tx, u.ID, "ad min"), accounts.ErrInvalidRole},
		"a role in capitals":   {o.Grant(ctx, tx, u.ID, "Admin"), accounts.ErrInvalidRole},
		"a role with NUL":      {o.Grant(ctx, tx, u.ID, "admin\x00"), accounts.ErrInvalidRole},
		"a role beyond ASCII":  {o.Revoke(ctx, tx, u.ID, "\u0430dmin"), accounts.ErrInvalidRole},
		"a long role":          {o.Grant(ctx, tx, u.ID, strings.Repeat("a", 65)), accounts.ErrInvalidRole},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: got %v, want %v", name, test.err, test.want)
		}
	}
	for _, d := range []time.Duration{0, -time.Hour, time.Microsecond} {
		if err := o.Lock(ctx, tx, goodEmail, d); err == nil {
			t.Errorf("locked for %s", d)
		}
	}
	if len(s.db.changes) != before || len(s.db.logins) != 0 {
		t.Error("something was written")
	}
}

func TestAGuardAnswersAnUnknownUserLikeOneWhoLacksARole(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	off := s.activated(t, "off@example.com", goodPassword)
	ctx := t.Context()
	for _, id := range []string{u.ID, off.ID} {
		must(t, s.operator().Grant(ctx, s.db.begin(), id, "admin"))
		must(t, s.operator().Grant(ctx, s.db.begin(), id, "editor"))
	}
	must(t, s.operator().Disable(ctx, s.db.begin(), off.ID))
	for name, test := range map[string]struct {
		guard accounts.Guard
		user  string
		want  error
	}{
		"the role":                  {s.Require("admin"), u.ID, nil},
		"all the roles":             {s.Require("admin", "editor"), u.ID, nil},
		"no role is needed":         {s.Require(), u.ID, nil},
		"one role is missing":       {s.Require("admin", "owner"), u.ID, accounts.ErrForbidden},
		"nobody":                    {s.Require("admin"), "nobody", accounts.ErrForbidden},
		"nobody, no role is needed": {s.Require(), "", accounts.ErrForbidden},
		"disabled":                  {s.Require("admin"), off.ID, accounts.ErrForbidden},
		"disabled, no role":         {s.Require(), off.ID, accounts.ErrForbidden},
		"a text that is no role":    {s.Require(""), u.ID, accounts.ErrForbidden},
		"a guard that nobody made":  {accounts.Guard{}, u.ID, accounts.ErrForbidden},
	} {
		if got := test.guard.Check(ctx, test.user); got != test.want { //nolint:errorlint // the very value, so that no answer differs
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		ran := false
		err := test.guard.Do(ctx, test.user, func(context.Context) error { ran = true; return nil })
		if ran != (test.want == nil) || !errors.Is(err, test.want) {
			t.Errorf("%s: ran %v, %v", name, ran, err)
		}
		next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		answer := httptest.NewRecorder()
		test.guard.Handler(func(*http.Request) string { return test.user }, next).
			ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		if status := map[bool]int{true: http.StatusTeapot, false: http.StatusForbidden}[test.want == nil]; answer.Code != status {
			t.Errorf("%s: status %d, want %d", name, answer.Code, status)
		}
	}
	must(t, s.operator().Revoke(ctx, s.db.begin(), u.ID, "admin"))
	wantErr(t, s.Require("admin").Check(ctx, u.ID), accounts.ErrForbidden)
	roles, err := s.Roles(ctx, u.ID)
	if diff := cmp.Diff([]string{"editor"}, roles); diff != "" || err != nil {
		t.Error(diff, err)
	}
	_, err = s.Roles(ctx, "nobody")
	wantErr(t, err, accounts.ErrNoSuchUser)
	s.db.failWith = errors.New("the database is away")
	wantErr(t, s.Require().Check(ctx, u.ID), s.db.failWith)
	answer := httptest.NewRecorder()
	s.Require().Handler(func(*http.Request) string { return u.ID }, http.NotFoundHandler()).
		ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
	if answer.Code != http.StatusServiceUnavailable || strings.Contains(answer.Body.String(), "away") {
		t.Errorf("status %d: %s", answer.Code, answer.Body)
	}
}
