package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs/authjobs"
)

const wantedSQL = `
SELECT email, language, nonce, coalesce(kid, ''), expires_at FROM pending_users
WHERE id = $1::uuid AND generation = $2 AND expires_at > statement_timestamp()`

const leaseMailSQL = `
INSERT INTO mails AS m (id, pending_id, generation, message_id, lease_until, lease_token)
SELECT $1, $2::uuid, $3::bigint, $4, statement_timestamp() + $5::interval, $6
WHERE NOT EXISTS (SELECT FROM suppressions WHERE email_norm = $7)` + leaseAgainSQL

const leaseAgainSQL = `
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, lease_token = excluded.lease_token,
	tries = m.tries + CASE WHEN m.held_by IS NULL THEN 1 ELSE 0 END, cause = CASE WHEN m.held_by IS NULL THEN m.cause ELSE '' END,
	held_by = NULL, held_until = NULL
WHERE m.sent_at IS NULL AND (m.lease_until IS NULL OR m.lease_until <= statement_timestamp())
RETURNING message_id, created_at, tries, statement_timestamp()`

// claimConfirmationSQL is both of these, for a mail that has no limits: most have no more to say, and it is one round trip for four.
const claimConfirmationSQL = `
WITH wanted AS (
	SELECT email, email_norm, language, nonce, coalesce(kid, '') AS kid, expires_at FROM pending_users
	WHERE id = $2::uuid AND generation = $3 AND expires_at > statement_timestamp()
)
INSERT INTO mails AS m (id, pending_id, generation, message_id, lease_until, lease_token)
SELECT $1, $2::uuid, $3::bigint, $4, statement_timestamp() + $5::interval, $6 FROM wanted
WHERE NOT EXISTS (SELECT FROM suppressions WHERE email_norm = wanted.email_norm)` + leaseAgainSQL + `,
	(SELECT email FROM wanted), (SELECT language FROM wanted), (SELECT nonce FROM wanted), (SELECT kid FROM wanted), (SELECT expires_at FROM wanted)`

// ClaimConfirmation takes a lease on a confirmation mail, as authworker.ConfirmationMails says.
func (db *DB) ClaimConfirmation(ctx context.Context, c authjobs.MailClaim) (authjobs.MailDraft, error) {
	d := authjobs.MailDraft{MailID: c.MailID, LeaseToken: rand.Text(), PendingID: c.PendingID, Generation: c.Generation}
	if c.Limits.None() {
		err := db.pool.QueryRow(ctx, claimConfirmationSQL, name(c.MailID), uuidOf(c.PendingID), bigint(c.Generation), c.MessageID, c.Lease, d.LeaseToken).
			Scan(&d.MessageID, &d.Date, &d.Try, &d.StartedAt, &d.To, &d.Language, &d.Nonce, &d.KID, &d.ExpiresAt)
		if err == nil {
			d.ExpiresAt, d.Date = d.ExpiresAt.UTC(), d.Date.UTC()
			return d, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return authjobs.MailDraft{}, fmt.Errorf("claim mail %s: %w", c.MailID, wrap("lease mail", err))
		}
	}
	return db.claimConfirmation(ctx, c, d)
}

// claimConfirmation does it step by step, and says why there is no lease to be had.
func (db *DB) claimConfirmation(ctx context.Context, c authjobs.MailClaim, d authjobs.MailDraft) (authjobs.MailDraft, error) {
	var limited error
	err := db.InTx(ctx, func(tx pgx.Tx) error {
		pendingID := uuidOf(c.PendingID)
		err := tx.QueryRow(ctx, wantedSQL, pendingID, bigint(c.Generation)).Scan(&d.To, &d.Language, &d.Nonce, &d.KID, &d.ExpiresAt)
		if errors.Is(err, pgx.ErrNoRows) {
			return mailUnwanted(ctx, tx, c.MailID)
		}
		if err != nil {
			return wrap("read registration", err)
		}
		limited, err = leaseMail(ctx, tx, c, pendingID, &d)
		return err
	})
	if err = db.held(ctx, c, c.PendingID, errors.Join(err, limited)); err != nil {
		return authjobs.MailDraft{}, fmt.Errorf("claim mail %s: %w", c.MailID, err)
	}
	d.ExpiresAt, d.Date = d.ExpiresAt.UTC(), d.Date.UTC()
	return d, nil
}

// leaseMail takes the lease on a mail to whomever id names, and its share of the limits. limited is why there is none where that is noted
// in tx, which is to be committed.
func leaseMail(ctx context.Context, tx pgx.Tx, c authjobs.MailClaim, id *string, d *authjobs.MailDraft) (limited, err error) {
	if !c.Limits.None() {
		if limited, err = takeShare(ctx, tx, c, id, d); limited != nil || err != nil {
			return limited, err
		}
	}
	err = tx.QueryRow(ctx, leaseMailSQL, name(c.MailID), id, bigint(c.Generation), c.MessageID, c.Lease, d.LeaseToken, normOf(d.To)).
		Scan(&d.MessageID, &d.Date, &d.Try, &d.StartedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, mailTaken(ctx, tx, c.MailID, normOf(d.To))
	}
	if err != nil {
		return nil, wrap("lease mail", err)
	}
	return nil, nil //nolint:nilnil // neither limited nor wrong
}

// mailTaken says why there is no lease to be had. The lease's statement has locked the mail's row, if there is one, so it stands still.
func mailTaken(ctx context.Context, tx pgx.Tx, mailID, emailNorm string) error {
	until, leased, err := leaseOf(ctx, tx, mailID)
	if err != nil {
		return err
	}
	if !leased {
		why, err := suppressed(ctx, tx, emailNorm)
		if err != nil {
			return err
		}
		if why != nil {
			return why
		}
	}
	return &authjobs.LeasedError{Until: until}
}

// mailUnwanted says what becomes of a mail that has lost its reason. A run that is sending it all the same is left to end it: its acceptance is
// to find the effect as it left it.
func mailUnwanted(ctx context.Context, tx pgx.Tx, mailID string) error {
	until, leased, err := leaseOf(ctx, tx, mailID)
	switch {
	case err != nil:
		return err
	case leased:
		return &authjobs.LeasedError{Until: until}
	}
	return authjobs.ErrNotWanted
}

// leaseOf says whether a run has the mail, and until when it had at most. A mail that was sent is authjobs.ErrSent.
func leaseOf(ctx context.Context, tx pgx.Tx, mailID string) (until time.Time, leased bool, err error) {
	var sentAt, leaseUntil *time.Time
	err = tx.QueryRow(ctx, `SELECT sent_at, lease_until, coalesce(lease_until > statement_timestamp(), false) FROM mails WHERE id = $1`, name(mailID)).
		Scan(&sentAt, &leaseUntil, &leased)
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return time.Time{}, false, wrap("read mail", err)
	case sentAt != nil:
		return time.Time{}, false, authjobs.ErrSent
	}
	return timeOrZero(leaseUntil), leased, nil
}

// held notes it at the mail where a claim ended because of the address.
func (db *DB) held(ctx context.Context, c authjobs.MailClaim, accountID string, err error) error {
	if why, ok := errors.AsType[*authjobs.SuppressedError](err); ok {
		return db.holdSuppressed(ctx, c, accountID, why)
	}
	return err
}

// BindActivationKey writes the hash of the link's key to the registration, as authworker.ConfirmationMails says.
func (db *DB) BindActivationKey(ctx context.Context, d authjobs.MailDraft, kid string, keyHash [32]byte) error {
	tag, err := db.pool.Exec(ctx, `UPDATE pending_users SET kid = $3, key_hash = $4
		WHERE id = $1::uuid AND generation = $2 AND (key_hash IS NULL OR key_hash = $4)`,
		uuidOf(d.PendingID), bigint(d.Generation), kid, keyHash[:])
	if err != nil {
		return wrap("bind activation key of mail "+d.MailID, err)
	}
	if tag.RowsAffected() == 0 {
		return db.notBound(ctx, d, `SELECT EXISTS (SELECT FROM pending_users WHERE id = $1::uuid AND generation = $2)`)
	}
	return nil
}

// notBound says why a mail's key is not the one of its registration or token, which there asks for: another key is, or there is none of them.
func (db *DB) notBound(ctx context.Context, d authjobs.MailDraft, there string, more ...any) error {
	var isThere bool
	if err := db.pool.QueryRow(ctx, there, append([]any{uuidOf(d.AccountID()), bigint(d.Generation)}, more...)...).Scan(&isThere); err != nil {
		return wrap("bind key of mail "+d.MailID, err)
	}
	why := authjobs.ErrNotWanted
	if isThere {
		why = authjobs.ErrLeaseLost
	}
	return fmt.Errorf("bind key of mail %s: %w", d.MailID, why)
}

// ConfirmationWanted looks whether the registration still waits for this mail, and this run is still the one that sends it.
func (db *DB) ConfirmationWanted(ctx context.Context, d authjobs.MailDraft) error {
	return db.mailWanted(ctx, d, `SELECT EXISTS (`+wantedSQL+`)`+ours("$3", "$4", "$5"),
		uuidOf(d.PendingID), bigint(d.Generation), name(d.MailID), d.LeaseToken, leaseNeeded(ctx))
}

// ours asks, beside whether a mail is wanted, whether it was sent, whether the draft's lease lasts long enough, and whether another's holds.
func ours(mail, token, needed string) string {
	return `, coalesce(m.sent_at IS NOT NULL, false),
	coalesce(m.lease_token = ` + token + ` AND m.lease_until > statement_timestamp() + ` + needed + `::interval, false),
	coalesce(m.lease_token <> ` + token + ` AND m.lease_until > statement_timestamp(), false)
FROM (SELECT) AS one LEFT JOIN mails AS m ON m.id = ` + mail
}

// leaseNeeded is for how long a lease must last yet under ctx: nobody else may claim the mail while its server may still take it.
func leaseNeeded(ctx context.Context) time.Duration {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return 0
	}
	return max(time.Until(deadline), 0) //nolint:forbidigo // contexts go by the real clock
}

func (db *DB) mailWanted(ctx context.Context, d authjobs.MailDraft, query string, args ...any) error {
	var wanted, sent, ours, theirs bool
	err := db.pool.QueryRow(ctx, query, args...).Scan(&wanted, &sent, &ours, &theirs)
	switch {
	case err != nil:
		return wrap("look again at mail "+d.MailID, err)
	case sent:
		err = authjobs.ErrSent
	case theirs:
		err = authjobs.ErrLeaseLost
	case !wanted:
		err = authjobs.ErrNotWanted
	case !ours:
		err = authjobs.ErrLeaseLost
	default:
		return nil
	}
	return fmt.Errorf("mail %s: %w", d.MailID, err)
}

// The first acceptance stays recorded, should there be two.
const mailSentSQL = `
WITH sent AS (
	UPDATE mails SET sent_at = coalesce(sent_at, statement_timestamp()), lease_until = NULL, lease_token = NULL, cause = '',
		smtp_code = CASE WHEN sent_at IS NULL THEN $2 ELSE smtp_code END,
		smtp_reply = CASE WHEN sent_at IS NULL THEN $3 ELSE smtp_reply END
	WHERE id = $1 RETURNING sent_at
), tried AS (
	INSERT INTO mail_attempts (mail, try, started_at, ended_at, server, stage, outcome, smtp_code, smtp_reply, cause)
	SELECT $1, greatest($6, 1), $7, statement_timestamp(), $8, '', $9, $2, $3, '' FROM sent
	ON CONFLICT DO NOTHING
), forgotten AS (
	DELETE FROM mail_attempts WHERE mail = $1 AND try <= $6 - $10
), told AS (
	UPDATE pending_users SET sent_at = sent.sent_at FROM sent
	WHERE id = $4::uuid AND generation = $5 AND pending_users.sent_at IS NULL
), linked AS (
	UPDATE user_tokens SET sent_at = sent.sent_at FROM sent
	WHERE user_id = $4::uuid AND generation = $5 AND user_tokens.sent_at IS NULL
)
SELECT count(*) FROM sent`

// MailSent records the mail server's acceptance, whatever became of the lease.
func (db *DB) MailSent(ctx context.Context, tx pgx.Tx, d authjobs.MailDraft, a authjobs.MailAnswer) error {
	var mails int
	err := tx.QueryRow(ctx, mailSentSQL, name(d.MailID), a.Code, prose(a.Reply), uuidOf(d.AccountID()), bigint(d.Generation),
		d.Try, d.StartedAt, name(a.Server), authjobs.MailDelivered, authjobs.MaxAttempts).Scan(&mails)
	if err != nil {
		return wrap("record sent mail "+d.MailID, err)
	}
	if mails == 0 {
		return fmt.Errorf("record sent mail %s: the mail was never claimed", d.MailID)
	}
	return nil
}
