package authworker

import (
	"context"
	"fmt"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/worker"
)

// purposeConfirmation names what a link's token is for; a token for one purpose is none for another.
const purposeConfirmation = "confirmation"

// confirm sends one confirmation mail.
func (m *mailer[Tx]) confirm(ctx context.Context, j worker.Job[authjobs.Confirmation]) error {
	return m.deliver(ctx, j.Effect(), steps{
		claim: func(ctx context.Context) (authjobs.MailDraft, error) {
			c := m.claim(j.Effect(), j.Args.Generation)
			c.PendingID = j.Args.PendingID
			return m.store.ClaimConfirmation(ctx, c)
		},
		write:  m.writeConfirmation,
		wanted: m.store.ConfirmationWanted,
	})
}

func (m *mailer[Tx]) writeConfirmation(ctx context.Context, d authjobs.MailDraft) (mail.Content, error) {
	key, kid, err := m.key(d, purposeConfirmation)
	if err != nil {
		return mail.Content{}, err
	}
	if err := m.store.BindActivationKey(ctx, d, kid, accounts.KeyHash(key)); err != nil {
		return mail.Content{}, fmt.Errorf("bind activation key: %w", err)
	}
	content, err := m.templates.Confirmation(mail.ConfirmationData{
		Product: m.product, Link: m.link(mail.KindConfirmation, key), ExpiresAt: d.ExpiresAt, Language: d.Language,
	})
	if err != nil {
		return mail.Content{}, fmt.Errorf("write mail: %w", err)
	}
	return content, nil
}
