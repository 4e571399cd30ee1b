package storetest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/operators"
)

func secretOf(text string) []byte {
	hash := accounts.KeyHash(text)
	return hash[:20]
}

// enrol gives the operator of a session the factor of that text, with two recovery codes.
func (s suite[Tx]) enrol(token, text string) {
	s.Helper()
	_, err := s.DB.ProposeFactor(s.Context(), accounts.KeyHash(token), secretOf(text))
	must(s, err)
	must(s, s.DB.SaveFactor(s.Context(), accounts.KeyHash(token), 100, twoCodes(), operatorEntry("operator.mfa_enrolled")))
}

func twoCodes() [][32]byte { return [][32]byte{accounts.KeyHash("one"), accounts.KeyHash("two")} }

func (s suite[Tx]) recover(operatorID, code string) (taken bool, left int) {
	s.Helper()
	taken, left, err := s.DB.UseRecoveryCode(s.Context(), operatorID, accounts.KeyHash(code), operatorEntry("operator.recovery_code_used"))
	must(s, err)
	return taken, left
}

func newAPIKey(operatorID, secret string) operators.NewKey {
	return operators.NewKey{
		ID: uuid.NewString(), Hash: accounts.KeyHash(secret), OperatorID: operatorID, Name: "backup", Role: operators.RoleOperator, Life: time.Hour,
	}
}

func (s suite[Tx]) key(operatorID, secret string) operators.NewKey {
	s.Helper()
	k := newAPIKey(operatorID, secret)
	must(s, s.DB.SaveAPIKey(s.Context(), k, operatorEntry("api_key.made")))
	return k
}

func (s suite[Tx]) wantKey(secret string, target error) {
	s.Helper()
	_, err := s.DB.UseAPIKey(s.Context(), accounts.KeyHash(secret))
	want(s, err, target)
}

func operatorFactorTests[Tx any]() []test[Tx] {
	return append(apiKeyTests[Tx](), []test[Tx]{
		{"a session is shown one secret, and another session another", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleAdmin)
			s.session(n.ID, "first")
			s.session(n.ID, "second")
			for _, c := range []struct{ token, offered, want string }{{"first", "a", "a"}, {"first", "b", "a"}, {"second", "b", "b"}} {
				got, err := s.DB.ProposeFactor(s.Context(), accounts.KeyHash(c.token), secretOf(c.offered))
				must(s, err)
				equal(s, "secret of "+c.token, true, bytes.Equal(secretOf(c.want), got))
			}
			_, err := s.DB.ProposeFactor(s.Context(), accounts.KeyHash("none"), secretOf("a"))
			want(s, err, operators.ErrNoSession)
			_, err = s.DB.FactorSecret(s.Context(), n.ID)
			want(s, err, operators.ErrNoFactor)
		}},
		{"a factor is what its session was shown, and is enrolled once however many race", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleAdmin)
			s.session(n.ID, "token")
			save := func() error {
				return s.DB.SaveFactor(s.Context(), accounts.KeyHash("token"), 100, twoCodes(), operatorEntry("operator.mfa_enrolled"))
			}
			want(s, save(), operators.ErrNoSession) // nothing was shown
			_, err := s.DB.ProposeFactor(s.Context(), accounts.KeyHash("token"), secretOf("a"))
			must(s, err)
			won, _ := tally(s, race(8, func(int) error { return save() }), operators.ErrEnrolled)
			equal(s, "enrolled", 1, won)
			s.wantEntries("operator.mfa_enrolled", 1)
			secret, err := s.DB.FactorSecret(s.Context(), n.ID)
			must(s, err)
			equal(s, "secret", true, bytes.Equal(secretOf("a"), secret))
			equal(s, "factor", true, s.found("ann").Factor)
			session, err := s.use("token")
			must(s, err)
			equal(s, "factor in the session", true, session.Factor)
		}},
		{"a factor that is enrolled ends every other session of its operator, and no one else's", func(s suite[Tx]) {
			n, other := s.operator("ann", operators.RoleOperator), s.operator("bob", operators.RoleOperator)
			for _, token := range []string{"stolen", "token"} {
				s.session(n.ID, token)
			}
			s.session(other.ID, "other")
			s.enrol("token", "a")
			s.wantUse("stolen", operators.ErrNoSession)
			s.wantUse("token", nil)
			s.wantUse("other", nil)
		}},
		{"of two sessions that enrol at once one does, and the other is told so", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleAdmin)
			const sessions = 6
			for i := range sessions {
				token := fmt.Sprint("token", i)
				s.session(n.ID, token)
				_, err := s.DB.ProposeFactor(s.Context(), accounts.KeyHash(token), secretOf(token))
				must(s, err)
			}
			won := 0
			for _, err := range race(sessions, func(i int) error {
				return s.DB.SaveFactor(s.Context(), accounts.KeyHash(fmt.Sprint("token", i)), 100, twoCodes(), operatorEntry("operator.mfa_enrolled"))
			}) {
				if err == nil {
					won++
				} else {
					want(s, err, operators.ErrNoSession) // it has ended
				}
			}
			equal(s, "enrolled", 1, won)
		}},
		{"a code is taken once, and none that is older, however many race", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleAdmin)
			s.session(n.ID, "token")
			s.enrol("token", "a")
			step := func(id string, step int64, taken bool) {
				s.Helper()
				got, err := s.DB.UseStep(s.Context(), id, step)
				must(s, err)
				equal(s, fmt.Sprint("step ", step, " taken"), taken, got)
			}
			step(n.ID, 100, false) // that of the enrolment
			step(n.ID, 99, false)
			step(n.ID, 102, true)
			step(n.ID, 101, false)
			step(uuid.NewString(), 200, false)
			step("no UUID", 200, false)
			taken := 0
			for _, err := range race(8, func(int) error {
				ok, err := s.DB.UseStep(s.Context(), n.ID, 103)
				if err == nil && !ok {
					err = errTaken
				}
				return err
			}) {
				if err == nil {
					taken++
				}
			}
			equal(s, "taken by racers", 1, taken)
		}},
		{"a recovery code is taken once, by its operator, and entered", func(s suite[Tx]) {
			n, other := s.operator("ann", operators.RoleAdmin), s.operator("bob", operators.RoleAdmin)
			s.session(n.ID, "token")
			s.enrol("token", "a")
			for _, c := range []struct {
				id, code string
				taken    bool
				left     int
			}{{other.ID, "one", false, 0}, {n.ID, "none", false, 2}, {n.ID, "one", true, 1}, {n.ID, "one", false, 1}, {n.ID, "two", true, 0}} {
				taken, left := s.recover(c.id, c.code)
				equal(s, c.code+" taken", c.taken, taken)
				equal(s, "left", c.left, left)
			}
			s.wantEntries("operator.recovery_code_used", 2)
		}},
		{"a factor that is dropped takes its codes along, and another can be enrolled", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleAdmin)
			s.session(n.ID, "token")
			s.enrol("token", "a")
			changed, err := s.changeOperator("ann", operators.Change{DropFactor: true})
			must(s, err)
			equal(s, "changed", true, changed)
			s.wantUse("token", operators.ErrNoSession)
			equal(s, "factor", false, s.found("ann").Factor)
			taken, _ := s.recover(n.ID, "one")
			equal(s, "code taken", false, taken)
			s.session(n.ID, "again")
			s.enrol("again", "b")
		}},
	}...)
}

func apiKeyTests[Tx any]() []test[Tx] {
	yes, no := true, false
	return []test[Tx]{
		{"a key says whose it is and what it may, until it ends or is revoked", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleAdmin)
			before := s.now()
			saved := s.key(n.ID, "secret")
			got, err := s.DB.UseAPIKey(s.Context(), saved.Hash)
			must(s, err)
			near(s, "expires", before.Add(time.Hour), s.now().Add(time.Hour), got.ExpiresAt)
			equal(s, "key", operators.Key{
				ID: saved.ID, OperatorID: n.ID, Operator: "ann", Name: "backup", Role: operators.RoleOperator,
				CreatedAt: got.CreatedAt, ExpiresAt: got.ExpiresAt, UsedAt: got.UsedAt,
			}, got)
			s.wantKey("another", operators.ErrNoKey)
			list, err := s.DB.APIKeys(s.Context())
			must(s, err)
			if len(list) != 1 || list[0].UsedAt == nil {
				s.Fatalf("want one key that was used, got %v", list)
			}
			for _, c := range []struct {
				id      string
				revoked bool
			}{{uuid.NewString(), false}, {"no UUID", false}, {saved.ID, true}, {saved.ID, false}} {
				revoked, err := s.DB.RevokeAPIKey(s.Context(), c.id, operatorEntry("api_key.revoked"))
				must(s, err)
				equal(s, "revoked", c.revoked, revoked)
			}
			s.wantEntries("api_key.made", 1)
			s.wantEntries("api_key.revoked", 1)
			s.wantKey("secret", operators.ErrNoKey)
			list, err = s.DB.APIKeys(s.Context())
			must(s, err)
			equal(s, "listed", 0, len(list))
			s.key(n.ID, "short")
			s.backdate(time.Hour)
			s.wantKey("short", operators.ErrNoKey)
		}},
		{"keys that ended ninety days ago go when another is made, whoever's they were, and no other", func(s suite[Tx]) {
			n, other := s.operator("ann", operators.RoleOperator), s.operator("bob", operators.RoleOperator)
			lasting := newAPIKey(n.ID, "lasting")
			lasting.Life = 2 * operators.EndedKeysKept
			revoked := newAPIKey(other.ID, "revoked")
			revoked.Life = lasting.Life
			for _, k := range []operators.NewKey{lasting, revoked} {
				must(s, s.DB.SaveAPIKey(s.Context(), k, operatorEntry("api_key.made")))
			}
			_, err := s.DB.RevokeAPIKey(s.Context(), revoked.ID, operatorEntry("api_key.revoked"))
			must(s, err)
			s.key(other.ID, "over") // in an hour
			s.backdate(operators.EndedKeysKept - time.Minute)
			s.key(n.ID, "first")
			s.hasRows("api_keys", 4)
			s.backdate(2 * time.Minute)
			want(s, s.DB.SaveAPIKey(s.Context(), newAPIKey(uuid.NewString(), "nobody's"), operatorEntry("api_key.made")), operators.ErrNoSuchOperator)
			s.hasRows("api_keys", 4)
			s.key(n.ID, "second")
			s.hasRows("api_keys", 4) // without the one that was revoked
			s.backdate(time.Hour)
			s.key(n.ID, "third")
			s.hasRows("api_keys", 4) // and without the one that was over
			s.wantKey("lasting", nil)
			equal(s, "left of bob's", "0", s.scalar("SELECT count(*) FROM api_keys WHERE operator_id = '"+other.ID+"'"))
		}},
		{"a key never can more than its operator, and nothing once he is disabled", func(s suite[Tx]) {
			n := s.operator("ann", operators.RoleOperator)
			k := s.key(n.ID, "secret")
			_, err := s.changeOperator("ann", operators.Change{Role: operators.RoleViewer})
			must(s, err)
			got, err := s.DB.UseAPIKey(s.Context(), k.Hash)
			must(s, err)
			equal(s, "role", operators.RoleViewer, got.Role)
			_, err = s.changeOperator("ann", operators.Change{Disabled: &yes})
			must(s, err)
			s.wantKey("secret", operators.ErrNoKey)
			for _, id := range []string{n.ID, uuid.NewString(), "", "no UUID"} {
				want(s, s.DB.SaveAPIKey(s.Context(), newAPIKey(id, "late"), operatorEntry("api_key.made")), operators.ErrNoSuchOperator)
			}
			s.wantEntries("api_key.made", 1)
		}},
		{"a key ends with the password, the factor or the admission under which it was made, and comes back with none of them", func(s suite[Tx]) {
			n, other := s.operator("ann", operators.RoleAdmin), s.operator("bob", operators.RoleAdmin)
			s.key(other.ID, "other")
			for i, c := range []operators.Change{{PasswordHash: otherHash()}, {DropFactor: true}, {Disabled: &yes}} {
				secret := fmt.Sprint("secret", i)
				s.key(n.ID, secret)
				_, err := s.changeOperator("ann", operators.Change{Role: operators.Roles()[i]})
				must(s, err)
				s.wantKey(secret, nil)
				_, err = s.changeOperator("ann", c)
				must(s, err)
				s.wantKey(secret, operators.ErrNoKey)
			}
			_, err := s.changeOperator("ann", operators.Change{Disabled: &no})
			must(s, err)
			s.wantKey("secret2", operators.ErrNoKey)
			s.wantKey("other", nil)
		}},
	}
}
