package accounts_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
)

func TestConfigurationsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]accounts.Config{
		"negative time to confirm":         {PendingTTL: -time.Hour},
		"less than the database can tell":  {PendingTTL: time.Microsecond},
		"a reset that never works":         {ResetTTL: -time.Hour},
		"a reset of no whole milliseconds": {ResetTTL: time.Microsecond},
		"a change that never works":        {EmailTTL: -time.Hour},
		"a device that never counts":       {DeviceTTL: -time.Hour},
		"a throttle of microseconds":       {MailEvery: time.Microsecond},
		"unknown policy":                   {RegisterAgain: 7},
		"negative limit":                   {Lockout: accounts.Lockout{Limit: -1}},
		"negative lock":                    {Lockout: accounts.Lockout{For: -time.Second}},
		"negative window":                  {Lockout: accounts.Lockout{Window: -time.Second}},
		"no hash at a time":                {HashParallel: -1},
		"negative memory of locks":         {GateFor: -time.Second},
		"hashes of more than the cap":      {Hash: accounts.HashCost{MemoryKiB: 1 << 20, Passes: 1, Lanes: 1}},
		"hashes without a pass":            {Hash: accounts.HashCost{MemoryKiB: 19456, Lanes: 1}},
		"hashes without a lane":            {Hash: accounts.HashCost{MemoryKiB: 19456, Passes: 2}},
		"hashes that take minutes in sum":  {Hash: accounts.HashCost{MemoryKiB: 256 << 10, Passes: 16, Lanes: 1}},
		"less memory than its lanes need":  {Hash: accounts.HashCost{MemoryKiB: 16, Passes: 1, Lanes: 4}},
		"a limit that no column can count": {Lockout: accounts.Lockout{Limit: 1 << 40}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newModel()
			if _, err := accounts.New(db, db, c); err == nil {
				t.Error("it was accepted")
			}
		})
	}
	if _, err := accounts.New[*modelTx](nil, newModel(), accounts.Config{}); err == nil {
		t.Error("no store was accepted")
	}
	if _, err := accounts.New[*modelTx](newModel(), nil, accounts.Config{}); err == nil {
		t.Error("no notifier was accepted")
	}
}

func TestTheZeroConfigIsStrong(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	db := newModel()
	a, err := accounts.New(db, db, accounts.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if log.Len() != 0 {
		t.Errorf("it warns of its own defaults: %s", &log)
	}
	if _, err := a.Register(t.Context(), db.begin(), accounts.Registration{Email: goodEmail, Password: goodPassword}); err != nil {
		t.Fatal(err)
	}
	if got := db.pendings[goodEmail].PasswordHash.RevealText(); !strings.HasPrefix(got, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("stored %s", got)
	}
	s := system{Accounts: over(t, db, accounts.Config{}), db: db} // the same lockout, quicker hashes
	s.guess(t, goodEmail, 5)
	if row := db.login(); row.lockedUntil == nil || !row.lockedUntil.Equal(db.Now().Add(15*time.Minute)) {
		t.Errorf("after five failures: %+v", row)
	}
}

func TestCheapHashesAreWarnedOf(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	newSystem(t, accounts.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("logged: %s", &log)
	}
}
