package loadtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/worker"
)

// serve runs a worker while fn runs. It returns when neither does any more. fn's context ends, with the cause, when the worker
// does.
func (b *bench) serve(ctx context.Context, handlers *worker.Handlers, catalog *jobs.Catalog, effects worker.Effects, fn func(ctx context.Context) error) error {
	if err := handlers.Check(catalog); err != nil {
		return err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	verifier, err := worker.New(b.keys, worker.Config{Quarantine: refusing{giveUp}, Effects: effects, Now: b.Now})
	if err != nil {
		return err
	}
	server, err := worker.NewServer(b.redis, verifier, handlers, worker.ServerConfig{
		Queues: map[string]int{b.Queue: 1}, Concurrency: b.Concurrency, Poll: idle, Shutdown: shutdown,
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := server.Run(running)
		if err != nil {
			giveUp(err)
		}
		ended <- err
	}()
	err = fn(ctx)
	stop()
	if serveErr := <-ended; serveErr != nil && !errors.Is(err, serveErr) {
		err = errors.Join(err, serveErr)
	}
	finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
	defer cancel()
	if waitErr := handlers.Wait(finishing); waitErr != nil {
		err = errors.Join(err, waitErr)
	}
	return err
}

// refusing is a quarantine that keeps nothing: a run in whose queue others write measures nothing, and is given up.
type refusing struct{ giveUp context.CancelCauseFunc }

func (r refusing) Keep(_ context.Context, refused jobs.Refused) error {
	r.giveUp(fmt.Errorf("%w (%s)", ErrRefused, refused.Reason))
	return nil
}
