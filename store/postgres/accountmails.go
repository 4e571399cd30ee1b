package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs/authjobs"
)

// accountMailSQL finds the link or the notice: a generation is that of one of them.
const accountMailSQL = `
SELECT coalesce(nullif(t.new_email, ''), u.email), u.language, t.nonce, coalesce(t.kid, ''), '', '', t.asked_at, t.expires_at
FROM user_tokens t JOIN users u ON u.id = t.user_id
WHERE t.user_id = $1::uuid AND t.generation = $2 AND t.purpose = $3 AND t.expires_at > statement_timestamp() AND u.disabled_at IS NULL
UNION ALL
SELECT n.email, u.language, NULL, '', n.stage, n.detail, n.told_at, n.expires_at FROM user_notices n JOIN users u ON u.id = n.user_id
WHERE n.user_id = $1::uuid AND n.generation = $2 AND n.mail = $3 AND n.expires_at > statement_timestamp()`

// ClaimAccountMail takes a lease on a mail to an owner, as authworker.AccountMails says.
func (db *DB) ClaimAccountMail(ctx context.Context, c authjobs.MailClaim) (authjobs.MailDraft, error) {
	d := authjobs.MailDraft{MailID: c.MailID, LeaseToken: rand.Text(), UserID: c.UserID, Mail: c.Mail, Generation: c.Generation}
	var limited error
	err := db.InTx(ctx, func(tx pgx.Tx) error {
		userID := uuidOf(c.UserID)
		err := tx.QueryRow(ctx, accountMailSQL, userID, bigint(c.Generation), name(c.Mail)).
			Scan(&d.To, &d.Language, &d.Nonce, &d.KID, &d.Stage, &d.Detail, &d.At, &d.ExpiresAt)
		if errors.Is(err, pgx.ErrNoRows) {
			return mailUnwanted(ctx, tx, c.MailID)
		}
		if err != nil {
			return wrap("read what is to be mailed", err)
		}
		limited, err = leaseMail(ctx, tx, c, userID, &d)
		return err
	})
	if err = db.held(ctx, c, c.UserID, errors.Join(err, limited)); err != nil {
		return authjobs.MailDraft{}, fmt.Errorf("claim mail %s: %w", c.MailID, err)
	}
	d.At, d.ExpiresAt, d.Date = d.At.UTC(), d.ExpiresAt.UTC(), d.Date.UTC()
	return d, nil
}

// BindTokenKey writes the hash of the link's key to its token, as authworker.AccountMails says.
func (db *DB) BindTokenKey(ctx context.Context, d authjobs.MailDraft, kid string, keyHash [32]byte) error {
	tag, err := db.pool.Exec(ctx, `UPDATE user_tokens SET kid = $4, key_hash = $5
		WHERE user_id = $1::uuid AND generation = $2 AND purpose = $3 AND (key_hash IS NULL OR key_hash = $5)`,
		uuidOf(d.UserID), bigint(d.Generation), name(d.Mail), kid, keyHash[:])
	if err != nil {
		return wrap("bind key of mail "+d.MailID, err)
	}
	if tag.RowsAffected() == 0 {
		return db.notBound(ctx, d, `SELECT EXISTS (SELECT FROM user_tokens WHERE user_id = $1::uuid AND generation = $2 AND purpose = $3)`, name(d.Mail))
	}
	return nil
}

// AccountMailWanted looks whether the mail is still due, and this run is still the one that sends it.
func (db *DB) AccountMailWanted(ctx context.Context, d authjobs.MailDraft) error {
	return db.mailWanted(ctx, d, `SELECT EXISTS (`+accountMailSQL+`)`+ours("$4", "$5", "$6"),
		uuidOf(d.UserID), bigint(d.Generation), name(d.Mail), name(d.MailID), d.LeaseToken, leaseNeeded(ctx))
}
