package postgres_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/store/postgres"
)

// Roles belong to the whole server, where other tests make theirs: a role is looked for, and a list never compared.
func TestRightsTellWhoCanWriteTheOutboxPastTheFunction(t *testing.T) {
	t.Parallel()
	for privilege, wide := range map[string]bool{
		"GRANT INSERT ON outbox TO %s":                     true,
		"GRANT INSERT (payload) ON outbox TO %s":           true,
		"GRANT UPDATE ON job_kinds TO %s":                  true,
		"GRANT INSERT ON enqueue_grants TO %s":             true,
		"GRANT TRIGGER ON outbox TO %s":                    true,
		"GRANT SELECT ON outbox TO %s":                     false,
		"GRANT INSERT ON ledger TO %s":                     false,
		"SELECT 1 /* sealq_enqueue alone, as before %s */": false,
	} {
		t.Run(privilege, func(t *testing.T) {
			t.Parallel()
			w := newSQLWorld(t)
			exec(t, w.raw, fmt.Sprintf(privilege, quoted(w.role)))
			r, err := w.db.Rights(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(r.Writers, w.role); got != wide {
				t.Errorf("among the writers: want %v, got %v", wide, got)
			}
			if diff := cmp.Diff([]string{}, r.Public, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("everybody's (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRightsTellWhatEverybodyMayUse(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	exec(t, w.raw, "GRANT SELECT ON users TO PUBLIC; GRANT EXECUTE ON FUNCTION sealq_enqueue(text, jsonb, interval, text) TO PUBLIC")
	r, err := w.db.Rights(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sealq_enqueue", "users"}, r.Public); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !r.Superuser || r.Role == "" || r.Server < 120000 || r.Clock.IsZero() {
		t.Errorf("of the connection itself: %+v", r)
	}
}

// Who asks need not own anything.
func TestARoleWithoutRightsMayAskForThem(t *testing.T) {
	t.Parallel()
	w := newSQLWorld(t)
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(w.role, rolePassword)
	db, err := postgres.Open(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r, err := db.Rights(t.Context())
	if err != nil || r.Role != w.role || r.Superuser {
		t.Errorf("%+v, %v", r, err)
	}
}
