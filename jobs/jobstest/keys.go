package jobstest

import (
	"context"
	"testing"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

const (
	audience = "jobstest"
	// maxLifetime is that of the throw-away ring: longer than any job of a test lives.
	maxLifetime = 10 * 365 * 24 * time.Hour
)

// ring is a key ring in memory, thrown away with its test.
type ring struct{ *signing.Ring }

func (r ring) Load(context.Context) (*signing.Ring, error) { return r.Ring, nil }
func (ring) String() string                                { return "memory" }

func openKeys(t testing.TB, now func() time.Time) *signing.Keys {
	t.Helper()
	fresh, err := signing.NewRing(now(), maxLifetime)
	if err != nil {
		t.Fatalf("jobstest: %v", err)
	}
	keys, err := signing.OpenWith(context.WithoutCancel(t.Context()), ring{fresh}, audience, signing.Options{Now: now})
	if err != nil {
		t.Fatalf("jobstest: %v", err)
	}
	return keys
}

// decode signs the row's arguments, verifies them and gives out what a worker would.
func decode[A any](keys *signing.Keys, def jobs.Def[A], row Row, now time.Time) (A, error) {
	var none A
	task := signing.Task{Kind: string(row.Kind), ID: row.ID, Queue: row.Queue, Payload: row.Payload}
	sig, _, err := keys.Sign(task, signing.Validity{Expires: now.Add(time.Hour)}) // an outbox row is never encrypted
	if err != nil {
		return none, err
	}
	verified, err := keys.Verify(task, sig)
	if err != nil {
		return none, err
	}
	return def.Decode(verified)
}
