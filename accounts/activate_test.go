package accounts_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

func TestActivationMakesAUserOnce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	p := s.registered(t, "Jane@Example.com", goodPassword)
	s.mustRefuse(t, goodEmail, goodPassword) // not confirmed yet

	key := s.db.mailKey(t, goodEmail)
	u, err := s.Activate(t.Context(), s.db.begin(), key)
	if err != nil {
		t.Fatal(err)
	}
	want := accounts.User{ID: p.ID, Email: "Jane@Example.com"}
	if diff := cmp.Diff(want, u); diff != "" {
		t.Error(diff)
	}
	_, err = s.Activate(t.Context(), s.db.begin(), key)
	wantErr(t, err, accounts.ErrUnknownKey)
	s.mustLogIn(t, "jane@EXAMPLE.com", goodPassword)
}

func TestARolledBackActivationLeavesTheKeyAlive(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.registered(t, goodEmail, goodPassword)
	key := s.db.mailKey(t, goodEmail)
	tx := s.db.begin()
	if _, err := s.Activate(t.Context(), tx, key); err != nil {
		t.Fatal(err)
	}
	tx.rollback()
	s.mustRefuse(t, goodEmail, goodPassword)
	if _, err := s.Activate(t.Context(), s.db.begin(), key); err != nil {
		t.Error(err)
	}
}

func TestBlankOrMalformedKeysDoNotReachTheStore(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.registered(t, goodEmail, goodPassword) // its key_hash is NULL: nothing was mailed
	key := s.db.mailKey(t, goodEmail)
	touched := s.db.touched
	for name, bad := range map[string]string{
		"blank":                        "",
		"spaces":                       strings.Repeat(" ", 43),
		"one short":                    key[:42],
		"one long":                     key + "A",
		"padded":                       key + "=",
		"padding in it":                key[:42] + "=",
		"a space before":               " " + key,
		"a line end behind":            key + "\n",
		"line ends in it":              key[:41] + "\r\n",
		"a line end in 43 characters":  "\n" + strings.Repeat("A", 42),
		"standard base64":              strings.Repeat("A", 42) + "+",
		"slash of standard base64":     "/" + strings.Repeat("A", 42),
		"bits that no 32 bytes encode": strings.Repeat("A", 42) + "B",
		"NUL":                          strings.Repeat("A", 42) + "\x00",
		"not ASCII":                    strings.Repeat("A", 41) + "é",
		"a whole link":                 "https://example.com/confirm?key=" + key,
		"SQL":                          "' OR key_hash IS NULL OR '' = '............",
		"a megabyte":                   strings.Repeat("A", 1<<20),
		"the hash of a key, in hex":    hex.EncodeToString(make([]byte, 32)),
	} {
		_, err := s.Activate(t.Context(), s.db.begin(), bad)
		wantErr(t, err, accounts.ErrUnknownKey)
		if s.db.touched != touched {
			t.Fatalf("%s: the store was asked", name)
		}
	}
	// What is well-formed and foreign is asked for and not found.
	_, err := s.Activate(t.Context(), s.db.begin(), strings.Repeat("A", 43))
	wantErr(t, err, accounts.ErrUnknownKey)
	if s.db.touched != touched+1 {
		t.Error("the store was not asked for a well-formed key")
	}
}

func TestAKeyDiesWithItsRegistration(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		wait time.Duration
		want error
	}{
		"a moment before":   {time.Hour - time.Nanosecond, nil},
		"at that very time": {time.Hour, accounts.ErrUnknownKey},
		"after":             {2 * time.Hour, accounts.ErrUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Our own clock is a year ahead: only the database's decides.
			s := newSystem(t, accounts.Config{PendingTTL: time.Hour, Now: func() time.Time { return time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) }})
			s.registered(t, goodEmail, goodPassword)
			key := s.db.mailKey(t, goodEmail)
			s.db.Advance(tc.wait)
			_, err := s.Activate(t.Context(), s.db.begin(), key)
			if tc.want == nil && err != nil {
				t.Error(err)
			} else if tc.want != nil {
				wantErr(t, err, tc.want)
			}
		})
	}
}

func TestStrictActivationWaitsForTheMail(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{RequireSent: true})
	s.registered(t, goodEmail, goodPassword)
	key := s.db.mailKey(t, goodEmail)
	_, err := s.Activate(t.Context(), s.db.begin(), key)
	wantErr(t, err, accounts.ErrUnknownKey)
	s.db.pendings[goodEmail].sentAt = new(s.db.Now())
	if _, err := s.Activate(t.Context(), s.db.begin(), key); err != nil {
		t.Error(err)
	}
}

func TestAnActivationThatRacedAnAccountTellsSo(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.registered(t, goodEmail, goodPassword)
	key := s.db.mailKey(t, goodEmail)
	s.imported("")
	_, err := s.Activate(t.Context(), s.db.begin(), key)
	wantErr(t, err, accounts.ErrAlreadyActive)
}

// The worker writes this hash, so it is a format: SHA-256 of the text, computed with sha256sum.
func TestKeyHashIsOverTheText(t *testing.T) {
	t.Parallel()
	got := accounts.KeyHash(strings.Repeat("A", 43))
	const want = "0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1a"
	if diff := cmp.Diff(want, hex.EncodeToString(got[:])); diff != "" {
		t.Error(diff)
	}
}
