package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"

	"github.com/sealq/sealq/jobs/authjobs"
)

// accountMailSQL finds the link or the notice: a generation is that of one of them.
const accountMailSQL = `
	SELECT coalesce(nullif(t.new_email, ''), u.email), u.language, t.nonce, coalesce(t.kid, ''), '', '', t.asked_at, t.expires_at
	FROM user_tokens t JOIN users u ON u.id = t.user_id
	WHERE t.user_id = ?1 AND t.generation = ?2 AND t.purpose = ?3 AND t.expires_at > ?4 AND u.disabled_at IS NULL
	UNION ALL
	SELECT n.email, u.language, NULL, '', n.stage, n.detail, n.told_at, n.expires_at FROM user_notices n JOIN users u ON u.id = n.user_id
	WHERE n.user_id = ?1 AND n.generation = ?2 AND n.mail = ?3 AND n.expires_at > ?4`

// ClaimAccountMail takes a lease on a mail to an owner: see authworker.AccountMails.
func (db *DB) ClaimAccountMail(ctx context.Context, c authjobs.MailClaim) (authjobs.MailDraft, error) {
	d := authjobs.MailDraft{MailID: c.MailID, LeaseToken: rand.Text(), UserID: c.UserID, Mail: c.Mail, Generation: c.Generation}
	var kept error
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		var at, expires int64
		err = tx.QueryRowContext(ctx, accountMailSQL, c.UserID, integer(c.Generation), c.Mail, instant).
			Scan(&d.To, &d.Language, &d.Nonce, &d.KID, &d.Stage, &d.Detail, &at, &expires)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return unwanted(ctx, tx, c.MailID, instant)
		case err != nil:
			return err //nolint:wrapcheck // wrapped below
		}
		d.At, d.ExpiresAt = timeOf(at), timeOf(expires)
		kept, err = lease(ctx, tx, c, &d, instant)
		return err
	})
	if err = errors.Join(err, kept); err != nil {
		return authjobs.MailDraft{}, db.wrap("claim mail", err)
	}
	return d, nil
}

// BindTokenKey writes the hash of a link's key to its token: see authworker.AccountMails.
func (db *DB) BindTokenKey(ctx context.Context, d authjobs.MailDraft, kid string, keyHash [32]byte) error {
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		n, err := execute(ctx, tx, `
			UPDATE user_tokens SET kid = ?1, key_hash = ?2
			WHERE user_id = ?3 AND generation = ?4 AND purpose = ?5 AND (key_hash IS NULL OR key_hash = ?2)`,
			kid, keyHash[:], d.UserID, integer(d.Generation), d.Mail)
		if err == nil && n == 0 {
			return notBound(ctx, tx, `SELECT EXISTS (SELECT 1 FROM user_tokens WHERE user_id = ? AND generation = ? AND purpose = ?)`,
				d.UserID, integer(d.Generation), d.Mail)
		}
		return err
	})
	if err != nil {
		return db.wrap("bind key", err)
	}
	return nil
}

// AccountMailWanted looks again before the mail leaves: see authworker.AccountMails.
func (db *DB) AccountMailWanted(ctx context.Context, d authjobs.MailDraft) error {
	return db.mailWanted(ctx, d, accountMailSQL, d.UserID, integer(d.Generation), d.Mail)
}
