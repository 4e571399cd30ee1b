package main

import (
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/office"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs/rawtask"
)

// openOffice gives the pages what they show and do of schedules, accounts and mails.
func (s *session) openOffice(c *dashboard.Config, db app.Database, client redis.UniversalClient) error {
	kinds, err := app.Kinds()
	if err != nil {
		return err
	}
	people, err := db.Accounts(accounts.Config{}) // to lock and unlock, no setting is needed
	if err != nil {
		return err
	}
	c.Schedules = office.Schedules{Database: db, Kinds: kinds}
	c.Accounts = office.Accounts{Database: db, Queue: rawtask.NewLister(client), Accounts: people, Now: s.now}
	c.Mails = office.Mails{Database: db}
	into(&c.MailLimits.Hourly, &err)(s.CountOrNone("mail-hourly-cap", mostMails))
	into(&c.MailLimits.Daily, &err)(s.CountOrNone("mail-daily-cap", mostMails))
	return err
}
