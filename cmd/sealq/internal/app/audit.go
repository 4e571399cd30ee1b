package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sealq/sealq/audit"
)

// Audit is what a database's record of changes can do without a transaction.
type Audit interface {
	audit.Chain
	// ChainAudit links up to limit committed entries, and returns how many.
	ChainAudit(ctx context.Context, limit int) (linked int, err error)
	// AuditHead returns the chain's head.
	AuditHead(ctx context.Context) (audit.Head, error)
}

// auditBatch is how many entries one transaction links.
const auditBatch = 1000

// LinkAudit links all entries that are committed and not linked yet.
func LinkAudit(ctx context.Context, a Audit) error {
	for {
		n, err := a.ChainAudit(ctx, auditBatch)
		if err != nil || n < auditBatch {
			return err
		}
	}
}

// AuditLinkerConfig of an AuditLinker.
type AuditLinkerConfig struct {
	// Every is the pause between two looks for entries. Zero: 1 s.
	Every time.Duration
	// HeadEvery is how often the head is logged, if it has changed. Zero: 1 minute.
	HeadEvery time.Duration
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// AuditLinker links what is written into the audit log, by whichever process, and logs the head of the chain: a head that is
// kept where the database's owner cannot write proves all that went before it. Any number may run.
type AuditLinker struct {
	log    Audit
	cfg    AuditLinkerConfig
	logged audit.Head
	failed bool
}

// NewAuditLinker needs a database.
func NewAuditLinker(log Audit, c AuditLinkerConfig) (*AuditLinker, error) {
	if log == nil {
		return nil, errors.New("new audit linker: it needs a database")
	}
	c.Every, c.HeadEvery = orDefault(c.Every, time.Second), orDefault(c.HeadEvery, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &AuditLinker{log: log, cfg: c}, nil
}

// lastLink is how long linking may take once more at the end.
const lastLink = 2 * time.Second

// Run links until ctx ends, then once more, and returns nil. Trouble is logged when it begins and when it ends.
func (l *AuditLinker) Run(ctx context.Context) error {
	link, head := time.NewTicker(l.cfg.Every), time.NewTicker(l.cfg.HeadEvery)
	defer link.Stop()
	defer head.Stop()
	for {
		l.told(ctx, LinkAudit(ctx, l.log))
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLink)
			defer cancel()
			l.told(ctx, errors.Join(LinkAudit(ctx, l.log), l.tellHead(ctx)))
			return nil
		case <-head.C:
			l.told(ctx, l.tellHead(ctx))
		case <-link.C:
		}
	}
}

// told logs the first error of a row of them, and its end.
func (l *AuditLinker) told(ctx context.Context, err error) {
	switch {
	case err != nil && ctx.Err() == nil && !l.failed:
		l.failed = true
		l.cfg.Logger.ErrorContext(ctx, "audit log not linked, trying again", slog.Any("error", err))
	case err == nil && l.failed:
		l.failed = false
		l.cfg.Logger.InfoContext(ctx, "audit log linked again")
	}
}

func (l *AuditLinker) tellHead(ctx context.Context) error {
	head, err := l.log.AuditHead(ctx)
	if err != nil || head == l.logged {
		return err
	}
	l.logged = head
	l.cfg.Logger.InfoContext(ctx, "audit log's head", slog.String("head", head.String()))
	return nil
}
