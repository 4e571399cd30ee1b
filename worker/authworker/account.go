package authworker

import (
	"context"
	"fmt"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/worker"
)

// account sends mails of one kind to owners of accounts.
func (m *mailer[Tx]) account(kind jobs.Kind) func(context.Context, worker.Job[authjobs.AccountMail]) error {
	return func(ctx context.Context, j worker.Job[authjobs.AccountMail]) error {
		return m.deliver(ctx, j.Effect(), steps{
			claim: func(ctx context.Context) (authjobs.MailDraft, error) {
				c := m.claim(j.Effect(), j.Args.Generation)
				c.UserID, c.Mail = j.Args.UserID, authjobs.MailName(kind)
				return m.store.ClaimAccountMail(ctx, c)
			},
			write:  m.writeAccountMail,
			wanted: m.store.AccountMailWanted,
		})
	}
}

// writeAccountMail derives the key of a link where the mail has one. The token's purpose is the mail's name.
func (m *mailer[Tx]) writeAccountMail(ctx context.Context, d authjobs.MailDraft) (mail.Content, error) {
	kind, data := mail.Kind(d.Mail), mail.AccountData{Product: m.product, Link: m.app.String(), At: d.At, Language: d.Language}
	if d.Nonce == nil {
		if kind == mail.KindEmailChange {
			kind, data.Address, data.Done = mail.KindEmailNotice, d.Detail, d.Stage == accounts.StageChanged
		}
	} else {
		key, kid, err := m.key(d, d.Mail)
		if err != nil {
			return mail.Content{}, err
		}
		if err := m.store.BindTokenKey(ctx, d, kid, accounts.KeyHash(key)); err != nil {
			return mail.Content{}, fmt.Errorf("bind key: %w", err)
		}
		data.Link, data.ExpiresAt = m.link(kind, key), d.ExpiresAt
	}
	content, err := m.templates.Account(kind, data)
	if err != nil {
		return mail.Content{}, fmt.Errorf("write mail: %w", err)
	}
	return content, nil
}
