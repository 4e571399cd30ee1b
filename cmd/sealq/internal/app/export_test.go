package app

import (
	"context"
	"log/slog"

	"github.com/sealq/sealq/jobs/authjobs"
)

// MailWatch is a mailWatch, whose server is a test's.
type MailWatch struct{ watch mailWatch }

func NewMailWatch(ping func(context.Context) error, where string, logger *slog.Logger) *MailWatch {
	return &MailWatch{watch: mailWatch{ping: ping, where: where, logger: logger}}
}

func (w *MailWatch) Run(ctx context.Context) error { return w.watch.run(ctx) }
func (w *MailWatch) Err() error                    { return w.watch.err() }
func (w *MailWatch) Mailed(ctx context.Context, o authjobs.MailOutcome) {
	w.watch.mailed(ctx, o)
}
