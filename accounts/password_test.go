package accounts_test

import (
	"encoding/base64"
	"log/slog"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/sealq/sealq/accounts"
)

func bcrypted(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestImportedHashesAreUpgradedAtLogin(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ hash, password string }{
		"bcrypt":             {bcrypted(t, goodPassword), goodPassword},
		"bcrypt as PHP does": {strings.Replace(bcrypted(t, goodPassword), "$2a$", "$2y$", 1), goodPassword},
		// from test.c of the reference implementation (github.com/P-H-C/phc-winner-argon2)
		"argon2id of another cost": {"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, accounts.Config{})
			s.imported(tc.hash)
			s.mustRefuse(t, goodEmail, "a wrong guess")
			if got := s.db.users[goodEmail].PasswordHash.RevealText(); got != tc.hash {
				t.Fatalf("a wrong password changed the hash to %s", got)
			}
			s.mustLogIn(t, goodEmail, tc.password)
			upgraded := s.db.users[goodEmail].PasswordHash.RevealText()
			if !strings.HasPrefix(upgraded, "$argon2id$v=19$m=8,t=1,p=1$") {
				t.Errorf("upgraded to %s", upgraded)
			}
			s.mustLogIn(t, goodEmail, tc.password)
			if again := s.db.users[goodEmail].PasswordHash.RevealText(); again != upgraded {
				t.Error("a hash of today's cost was replaced")
			}
			s.mustRefuse(t, goodEmail, "a wrong guess")
		})
	}
}

func TestBcryptDoesNotTruncate(t *testing.T) {
	t.Parallel()
	password := strings.Repeat("Zq", 36) // 72 bytes
	for name, tc := range map[string]struct {
		password string
		ok       bool
	}{
		"72 bytes":                        {password, true},
		"73 bytes that begin with the 72": {password + "!", false},
		"1,024 bytes that begin with it":  {password + strings.Repeat("!", 1024-72), false},
		"71 bytes":                        {password[:71], false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, accounts.Config{})
			s.imported(bcrypted(t, password))
			before := s.Stats().Hashes
			if tc.ok {
				s.mustLogIn(t, goodEmail, tc.password)
				return
			}
			s.mustRefuse(t, goodEmail, tc.password)
			if got := s.Stats().Hashes - before; got != 1 {
				t.Errorf("%d hashes were computed: a quick answer tells that the account exists", got)
			}
		})
	}
}

// unreadable are stored hashes that must neither log anybody in nor take the process's memory or minutes.
var unreadable = map[string]string{
	"nonsense":                       "nonsense",
	"a plain password":               goodPassword,
	"MD5":                            "5f4dcc3b5aa765d61d8327deb882cf99",
	"bcrypt of cost 31":              "$2a$31$" + strings.Repeat("A", 53),
	"bcrypt of cost 17":              "$2a$17$" + strings.Repeat("A", 53),
	"bcrypt cut off":                 "$2a$10$AAAA",
	"bcrypt with an illegal salt":    "$2a$04$AAA!" + strings.Repeat("A", 49),
	"argon2i":                        "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"argon2d":                        "$argon2d$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"version 16":                     "$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"no version":                     "$argon2id$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"4 TiB of memory":                "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"memory over 32 bits":            "$argon2id$v=19$m=4294967304,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"just over the cap of memory":    "$argon2id$v=19$m=262145,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"no memory":                      "$argon2id$v=19$m=0,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"less memory than lanes need":    "$argon2id$v=19$m=15,t=1,p=2$c29tZXNhbHQ$" + raw(32),
	"four billion passes":            "$argon2id$v=19$m=8,t=4294967295,p=1$c29tZXNhbHQ$" + raw(32),
	"no pass, where argon2 panics":   "$argon2id$v=19$m=8,t=0,p=1$c29tZXNhbHQ$" + raw(32),
	"no lane, where argon2 panics":   "$argon2id$v=19$m=8,t=1,p=0$c29tZXNhbHQ$" + raw(32),
	"256 lanes, which wrap to none":  "$argon2id$v=19$m=65536,t=1,p=256$c29tZXNhbHQ$" + raw(32),
	"memory times passes":            "$argon2id$v=19$m=262144,t=5,p=1$c29tZXNhbHQ$" + raw(32),
	"a negative number":              "$argon2id$v=19$m=-8,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"a signed number":                "$argon2id$v=19$m=+8,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"a leading zero":                 "$argon2id$v=19$m=08,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"a hexadecimal number":           "$argon2id$v=19$m=0x8,t=1,p=1$c29tZXNhbHQ$" + raw(32),
	"another order":                  "$argon2id$v=19$t=1,m=8,p=1$c29tZXNhbHQ$" + raw(32),
	"a parameter twice":              "$argon2id$v=19$m=8,t=1,p=1,p=1$c29tZXNhbHQ$" + raw(32),
	"an unknown parameter":           "$argon2id$v=19$m=8,t=1,p=1,keyid=AA$c29tZXNhbHQ$" + raw(32),
	"no parameters":                  "$argon2id$v=19$$c29tZXNhbHQ$" + raw(32),
	"no salt":                        "$argon2id$v=19$m=8,t=1,p=1$$" + raw(32),
	"a salt of 7 bytes":              "$argon2id$v=19$m=8,t=1,p=1$" + raw(7) + "$" + raw(32),
	"a salt of 65 bytes":             "$argon2id$v=19$m=8,t=1,p=1$" + raw(65) + "$" + raw(32),
	"an empty hash, which all match": "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$",
	"a hash of 15 bytes":             "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(15),
	"a hash of 65 bytes":             "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(65),
	"a hash of 60 kB":                "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(60000),
	"padded base64":                  "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ=$" + raw(32),
	"URL base64":                     "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbH-_$" + raw(32),
	"stray bits in the salt":         "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHR$" + raw(32),
	"a line end in the salt":         "$argon2id$v=19$m=8,t=1,p=1$c29tZX\nNhbHQ$" + raw(32),
	"a field too many":               "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(32) + "$",
	"a space behind":                 "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(32) + " ",
	"NUL":                            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + raw(32) + "\x00",
}

func raw(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }

func TestAbsurdHashesAreRefusedLikeAWrongPassword(t *testing.T) {
	t.Parallel()
	for name, hash := range unreadable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			s := newSystem(t, accounts.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			s.imported(hash)
			log.Reset()
			before := s.Stats().Hashes
			s.mustRefuse(t, goodEmail, goodPassword)
			if got := s.Stats().Hashes - before; got != 1 {
				t.Errorf("%d hashes were computed, an unknown account costs 1", got)
			}
			if !strings.Contains(log.String(), "user_id=imported") || strings.Contains(log.String(), hash) {
				t.Errorf("the operator must hear of the user, not of the hash: %s", &log)
			}
		})
	}
}

func TestPHCStringsWithinTheCapsAreRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]accounts.HashCost{
		"$argon2id$v=19$m=8,t=1,p=1$" + raw(8) + "$" + raw(16):        {MemoryKiB: 8, Passes: 1, Lanes: 1},
		"$argon2id$v=19$m=19456,t=2,p=1$" + raw(16) + "$" + raw(32):   accounts.DefaultHashCost(),
		"$argon2id$v=19$m=65536,t=3,p=4$" + raw(16) + "$" + raw(32):   {MemoryKiB: 65536, Passes: 3, Lanes: 4},
		"$argon2id$v=19$m=262144,t=4,p=16$" + raw(64) + "$" + raw(64): {MemoryKiB: 262144, Passes: 4, Lanes: 16},
	} {
		got, _, err := accounts.ReadPHC(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestOnePasswordInTwoUnicodeFormsIsOne(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.activated(t, goodEmail, "caf\u00e9 au lait")
	s.mustLogIn(t, goodEmail, "cafe\u0301 au lait")
	s.mustRefuse(t, goodEmail, "cafe au lait")
}

func TestTwoHashesOfOnePasswordDiffer(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	a, b := s.activated(t, "a@example.com", goodPassword), s.activated(t, "b@example.com", goodPassword)
	if a.ID == b.ID || s.db.users["a@example.com"].PasswordHash == s.db.users["b@example.com"].PasswordHash {
		t.Error("two accounts share an ID or a salt")
	}
}

// The list is compared after the length was checked and lower-cased: an entry that breaks these rules would never match.
func TestEveryCommonPasswordCanMatch(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("common_passwords.txt")
	if err != nil {
		t.Fatal(err)
	}
	policy, seen := accounts.DefaultPasswordPolicy(), map[string]bool{}
	for line := range strings.Lines(string(data)) {
		word := strings.TrimSuffix(line, "\n")
		if seen[word] || word != strings.ToLower(word) || utf8.RuneCountInString(word) < accounts.MinPasswordChars {
			t.Errorf("%q is double, not lower case or too short to be reached", word)
		}
		seen[word] = true
		wantErr(t, policy(t.Context(), accounts.Email{}, strings.ToUpper(word)), accounts.ErrPasswordCommon)
	}
	if len(seen) < 200 {
		t.Errorf("%d entries", len(seen))
	}
}

func FuzzPHC(f *testing.F) {
	for _, seed := range unreadable {
		if len(seed) < 1000 {
			f.Add(seed)
		}
	}
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$" + raw(16) + "$" + raw(32))
	f.Fuzz(func(t *testing.T, text string) {
		cost, again, err := accounts.ReadPHC(text)
		if err != nil {
			return
		}
		if again != text {
			t.Errorf("%q is written as %q", text, again)
		}
		if cost.Lanes < 1 || cost.Passes < 1 || cost.MemoryKiB > 256<<10 || uint64(cost.MemoryKiB)*uint64(cost.Passes) > 1<<20 {
			t.Errorf("%q passed with %+v", text, cost)
		}
	})
}
