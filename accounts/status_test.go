package accounts_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

func TestShowTellsWhereAnAddressStands(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prepare func(*testing.T, system)
		want    string
	}{
		"never seen": {
			func(*testing.T, system) {},
			`{"email":"JANE@example.com","status":"none","failed_attempts":0}`,
		},
		"registered": {
			func(t *testing.T, s system) {
				t.Helper()
				s.registered(t, "Jane@example.com", goodPassword)
			},
			`{"email":"Jane@example.com","status":"pending","pending_id":"ID","generation":1,"expires_at":"2026-05-05T12:00:00Z","failed_attempts":0}`,
		},
		"registered and mailed": {
			func(t *testing.T, s system) {
				t.Helper()
				s.registered(t, goodEmail, goodPassword)
				s.db.pendings[goodEmail].sentAt = new(s.db.Now())
			},
			`{"email":"jane@example.com","status":"pending","pending_id":"ID","generation":1,"expires_at":"2026-05-05T12:00:00Z","sent_at":"2026-05-04T12:00:00Z","failed_attempts":0}`,
		},
		"expired and not swept": {
			func(t *testing.T, s system) {
				t.Helper()
				s.registered(t, goodEmail, goodPassword)
				s.db.Advance(24 * time.Hour)
			},
			`{"email":"JANE@example.com","status":"none","failed_attempts":0}`,
		},
		"active": {
			func(t *testing.T, s system) {
				t.Helper()
				s.activated(t, "Jane@example.com", goodPassword)
			},
			`{"email":"Jane@example.com","status":"active","user_id":"ID","failed_attempts":0}`,
		},
		"locked": {
			func(t *testing.T, s system) {
				t.Helper()
				s.activated(t, goodEmail, goodPassword)
				s.guess(t, goodEmail, 3)
			},
			`{"email":"jane@example.com","status":"locked","user_id":"ID","failed_attempts":3,"last_failed_at":"2026-05-04T12:00:00Z","locked_until":"2026-05-04T12:10:00Z","locked_by":"failures"}`,
		},
		"the lock is over and nobody came": {
			func(t *testing.T, s system) {
				t.Helper()
				s.activated(t, goodEmail, goodPassword)
				s.guess(t, goodEmail, 3)
				s.db.Advance(lockFor)
			},
			`{"email":"jane@example.com","status":"active","user_id":"ID","failed_attempts":3,"last_failed_at":"2026-05-04T12:00:00Z"}`,
		},
		"locked by an operator": {
			func(t *testing.T, s system) {
				t.Helper()
				s.activated(t, goodEmail, goodPassword)
				must(t, s.operator().Lock(t.Context(), s.db.begin(), goodEmail, lockFor))
			},
			`{"email":"jane@example.com","status":"locked","user_id":"ID","failed_attempts":0,"locked_until":"2026-05-04T12:10:00Z","locked_by":"operator"}`,
		},
		"disabled and locked": {
			func(t *testing.T, s system) {
				t.Helper()
				s.activated(t, goodEmail, goodPassword)
				s.guess(t, goodEmail, 3)
				s.db.users[goodEmail].Disabled = true
			},
			`{"email":"jane@example.com","status":"disabled","user_id":"ID","failed_attempts":3,"last_failed_at":"2026-05-04T12:00:00Z","locked_until":"2026-05-04T12:10:00Z","locked_by":"failures"}`,
		},
		"guessed at without an account": {
			func(t *testing.T, s system) {
				t.Helper()
				s.guess(t, goodEmail, 3)
			},
			`{"email":"JANE@example.com","status":"none","failed_attempts":3,"last_failed_at":"2026-05-04T12:00:00Z","locked_until":"2026-05-04T12:10:00Z","locked_by":"failures"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, threeStrikes)
			tc.prepare(t, s)
			got, err := s.Show(t.Context(), "JANE@example.com")
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []*string{&got.UserID, &got.PendingID} {
				if *id != "" {
					*id = "ID"
				}
			}
			text, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestShowRefusesWhatIsNoAddress(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	_, err := s.Show(t.Context(), "Jane <jane@example.com>")
	wantErr(t, err, accounts.ErrInvalidEmail)
}
