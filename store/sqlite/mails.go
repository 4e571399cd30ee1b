package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// ClaimConfirmation takes a lease on a confirmation mail: see authworker.ConfirmationMails.
func (db *DB) ClaimConfirmation(ctx context.Context, c authjobs.MailClaim) (authjobs.MailDraft, error) {
	d := authjobs.MailDraft{MailID: c.MailID, LeaseToken: rand.Text(), PendingID: c.PendingID, Generation: c.Generation}
	var kept error
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		var kid sql.NullString
		var expires int64
		err = tx.QueryRowContext(ctx, `SELECT email, language, nonce, kid, expires_at FROM pending_users WHERE id = ? AND generation = ? AND expires_at > ?`,
			c.PendingID, integer(c.Generation), instant).Scan(&d.To, &d.Language, &d.Nonce, &kid, &expires)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return unwanted(ctx, tx, c.MailID, instant)
		case err != nil:
			return err //nolint:wrapcheck // wrapped below
		}
		d.KID, d.ExpiresAt = kid.String, timeOf(expires)
		kept, err = lease(ctx, tx, c, &d, instant)
		return err
	})
	if err = errors.Join(err, kept); err != nil {
		return authjobs.MailDraft{}, db.wrap("claim confirmation mail", err)
	}
	return d, nil
}

// lease takes the lease on the mail, and reads what stays the same with every try. held is why there is none where that is noted at the
// mail, and is to be committed.
func lease(ctx context.Context, tx *sql.Tx, c authjobs.MailClaim, d *authjobs.MailDraft, instant int64) (held, err error) {
	why, err := suppressed(ctx, tx, normOf(d.To))
	switch {
	case err != nil:
		return nil, err
	case why != nil:
		if err := notClaimable(ctx, tx, c.MailID, instant); err != nil {
			return nil, err
		}
		return why, hold(ctx, tx, c, d.AccountID(), authjobs.HeldBySuppressed, time.Time{}, why.Error(), instant)
	}
	if !c.Limits.None() {
		if held, err = takeShare(ctx, tx, c, d, instant); held != nil || err != nil {
			return held, err
		}
	}
	var date int64
	err = tx.QueryRowContext(ctx, `
		INSERT INTO mails (id, pending_id, generation, message_id, created_at, lease_until, lease_token) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
		ON CONFLICT (id) DO UPDATE SET tries = tries + (held_by IS NULL), cause = iif(held_by IS NULL, cause, ''), lease_until = ?6, lease_token = ?7,
			held_by = NULL, held_until = NULL
		WHERE sent_at IS NULL AND (lease_until IS NULL OR lease_until <= ?5)
		RETURNING message_id, created_at, tries`,
		c.MailID, d.AccountID(), integer(c.Generation), c.MessageID, instant, instant+c.Lease.Microseconds(), d.LeaseToken).
		Scan(&d.MessageID, &date, &d.Try)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notClaimable(ctx, tx, c.MailID, instant)
	}
	d.Date, d.StartedAt = timeOf(date), timeOf(instant)
	return nil, err //nolint:wrapcheck // whoever claims wraps it
}

// notClaimable says why a mail could not be claimed, nil if it can be.
func notClaimable(ctx context.Context, tx *sql.Tx, mailID string, instant int64) error {
	var sent, until sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT sent_at, lease_until FROM mails WHERE id = ?`, mailID).Scan(&sent, &until)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err //nolint:wrapcheck // ClaimConfirmation wraps it
	case sent.Valid:
		return authjobs.ErrSent
	case until.Valid && until.Int64 > instant:
		return &authjobs.LeasedError{Until: timeOf(until.Int64)}
	}
	return nil
}

// unwanted says what becomes of a mail that has lost its reason. A run that is sending it all the same is left to end it: its acceptance is
// to find the effect as it left it.
func unwanted(ctx context.Context, tx *sql.Tx, mailID string, instant int64) error {
	if err := notClaimable(ctx, tx, mailID, instant); err != nil {
		return err
	}
	return authjobs.ErrNotWanted
}

// BindActivationKey writes the hash of a link's key to its user: see authworker.ConfirmationMails.
func (db *DB) BindActivationKey(ctx context.Context, d authjobs.MailDraft, kid string, keyHash [32]byte) error {
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		n, err := execute(ctx, tx, `
			UPDATE pending_users SET kid = ?, key_hash = ?
			WHERE id = ? AND generation = ? AND (key_hash IS NULL OR key_hash = ?)`,
			kid, keyHash[:], d.PendingID, integer(d.Generation), keyHash[:])
		if err == nil && n == 0 {
			return notBound(ctx, tx, `SELECT EXISTS (SELECT 1 FROM pending_users WHERE id = ? AND generation = ?)`, d.PendingID, integer(d.Generation))
		}
		return err
	})
	if err != nil {
		return db.wrap("bind activation key", err)
	}
	return nil
}

// notBound says why a key is not the one of its registration or token, which there asks for: another key is, or there is none of them.
func notBound(ctx context.Context, tx *sql.Tx, there string, args ...any) error {
	var isThere bool
	switch err := tx.QueryRowContext(ctx, there, args...).Scan(&isThere); {
	case err != nil:
		return err //nolint:wrapcheck // whoever binds wraps it
	case isThere:
		return authjobs.ErrLeaseLost
	}
	return authjobs.ErrNotWanted
}

// ConfirmationWanted looks again before the mail leaves: see authworker.ConfirmationMails.
func (db *DB) ConfirmationWanted(ctx context.Context, d authjobs.MailDraft) error {
	return db.mailWanted(ctx, d, `SELECT 1 FROM pending_users WHERE id = ? AND generation = ? AND expires_at > ?`, d.PendingID, integer(d.Generation))
}

// mailWanted looks whether a mail is wanted, by a query whose last argument is the time, and is still this draft's to send: its lease must last
// for as long as ctx does, because nobody else may claim the mail while its server may still take it.
func (db *DB) mailWanted(ctx context.Context, d authjobs.MailDraft, query string, args ...any) error {
	instant, err := now(ctx, db.read)
	if err != nil {
		return db.wrap("look whether the mail is wanted", err)
	}
	var wanted bool
	if err := db.read.QueryRowContext(ctx, `SELECT EXISTS (`+query+`)`, append(args, instant)...).Scan(&wanted); err != nil {
		return db.wrap("look whether the mail is wanted", err)
	}
	var sent, until sql.NullInt64
	var token sql.NullString
	err = db.read.QueryRowContext(ctx, `SELECT sent_at, lease_until, lease_token FROM mails WHERE id = ?`, d.MailID).Scan(&sent, &until, &token)
	ours := token.String == d.LeaseToken
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return db.wrap("look whether the mail is wanted", err)
	case sent.Valid:
		return authjobs.ErrSent
	case !ours && until.Int64 > instant:
		return authjobs.ErrLeaseLost
	case !wanted:
		return authjobs.ErrNotWanted
	case !ours || until.Int64 <= instant+leaseNeeded(ctx).Microseconds():
		return authjobs.ErrLeaseLost
	}
	return nil
}

// leaseNeeded is for how long a lease must last yet under ctx.
func leaseNeeded(ctx context.Context) time.Duration {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return 0
	}
	return max(time.Until(deadline), 0) //nolint:forbidigo // contexts go by the real clock
}

// MailSent records the acceptance, the first one should there be two: see authworker.MailOutcomes.
func (db *DB) MailSent(ctx context.Context, tx *sql.Tx, d authjobs.MailDraft, a authjobs.MailAnswer) error {
	instant, err := now(ctx, tx)
	if err != nil {
		return db.wrap("record sent mail", err)
	}
	n, err := execute(ctx, tx, `
		UPDATE mails SET sent_at = coalesce(sent_at, ?1), lease_until = NULL, lease_token = NULL, cause = '',
			smtp_code = CASE WHEN sent_at IS NULL THEN ?2 ELSE smtp_code END,
			smtp_reply = CASE WHEN sent_at IS NULL THEN ?3 ELSE smtp_reply END
		WHERE id = ?4`, instant, a.Code, prose(a.Reply), d.MailID)
	if err == nil && n == 0 {
		err = fmt.Errorf("mail %s was never claimed", d.MailID)
	}
	if err == nil {
		a.Outcome = authjobs.MailDelivered
		err = tried(ctx, tx, d, a, "", instant)
	}
	if err == nil {
		_, err = execute(ctx, tx, `UPDATE pending_users SET sent_at = coalesce(sent_at, ?) WHERE id = ? AND generation = ?`, instant, d.PendingID, integer(d.Generation))
	}
	if err == nil {
		_, err = execute(ctx, tx, `UPDATE user_tokens SET sent_at = coalesce(sent_at, ?) WHERE user_id = ? AND generation = ?`, instant, d.UserID, integer(d.Generation))
	}
	if err != nil {
		return db.wrap("record sent mail", err)
	}
	return nil
}
