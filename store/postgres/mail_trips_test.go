package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/store/postgres"
)

func TestAConfirmationIsEightRoundTrips(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	l, pool := openPool(t, raw.Config().ConnString(), nil)
	counted := postgres.Over(pool)
	a, err := accounts.New(db, authjobs.NewNotifier[pgx.Tx](db), accounts.Config{Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	send := func(email string) map[string]int64 {
		var p accounts.Pending
		err := db.InTx(t.Context(), func(tx pgx.Tx) (err error) {
			p, err = a.Register(t.Context(), tx, accounts.Registration{Email: email, Password: "Violets-are-9-blue"})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		effect := jobs.Effect{ID: scalar(t, raw, `SELECT id::text FROM outbox ORDER BY id DESC LIMIT 1`), Kind: authjobs.KindMailConfirmation, Keep: time.Hour}
		claim := authjobs.MailClaim{MailID: effect.ID, PendingID: p.ID, Generation: p.Generation, MessageID: effect.ID + "@example.org", Lease: time.Minute}
		var d authjobs.MailDraft
		trips := make(map[string]int64)
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"asked whether it is done", func() error { _, err := counted.EffectDone(t.Context(), effect.Kind, effect.ID); return err }},
			{"claimed", func() (err error) { d, err = counted.ClaimConfirmation(t.Context(), claim); return err }},
			{"bound", func() error { return counted.BindActivationKey(t.Context(), d, "0a0b0c0d", accounts.KeyHash(email)) }},
			{"looked at again", func() error { return counted.ConfirmationWanted(t.Context(), d) }},
			{"recorded", func() error {
				_, err := counted.Once(t.Context(), effect, func(ctx context.Context, tx pgx.Tx) error {
					return counted.MailSent(ctx, tx, d, authjobs.MailAnswer{Code: 250, Outcome: authjobs.MailDelivered})
				})
				return err
			}},
		} {
			began := l.trips.Load()
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			trips[step.name] = l.trips.Load() - began
		}
		if d.To != email || d.Try != 1 || d.Date.IsZero() || d.ExpiresAt.Before(time.Now()) || len(d.Nonce) == 0 || d.KID != "" {
			t.Errorf("the draft: %+v", d)
		}
		if _, err := counted.ClaimConfirmation(t.Context(), claim); !errors.Is(err, authjobs.ErrSent) {
			t.Errorf("once more: %v", err)
		}
		return trips
	}
	send("bob@example.org") // prepares the statements
	got := send("ada@example.org")
	for step, most := range map[string]int64{"asked whether it is done": 1, "claimed": 1, "bound": 1, "looked at again": 1, "recorded": 4} {
		if got[step] != most {
			t.Errorf("%s in %d round trips, want %d", step, got[step], most)
		}
	}
}
