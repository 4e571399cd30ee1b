package requests

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"time"
)

// Deed carries a request out, and says in a sentence what came of it. Its error is shown to whoever asked, so it holds no secret.
type Deed func(ctx context.Context, r Request) (outcome string, err error)

// Config of a Carrier.
type Config struct {
	// Holder names this process. Required.
	Holder string
	// Deeds are what this process can do. Required: one at least.
	Deeds map[Kind]Deed
	// Poll is the pause between two looks for requests. Zero: 1 s.
	Poll time.Duration
	// Patience is how long one may take. Zero: 1 minute.
	Patience time.Duration
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// slack is how much longer than a deed's patience its lease is, in which its end is told.
const slack = 30 * time.Second

// Carrier carries requests out. Any number may run.
type Carrier struct {
	store Store
	cfg   Config
	kinds []Kind
}

// NewCarrier needs a store, and something that it can do.
func NewCarrier(s Store, c Config) (*Carrier, error) {
	if s == nil || c.Holder == "" || len(c.Deeds) == 0 {
		return nil, errors.New("new carrier of requests: it needs a store, a name and deeds")
	}
	if c.Poll <= 0 {
		c.Poll = time.Second
	}
	if c.Patience <= 0 {
		c.Patience = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Carrier{store: s, cfg: c, kinds: slices.Sorted(maps.Keys(c.Deeds))}, nil
}

// Run carries out what is asked for, one after another, until ctx ends, and returns nil. Trouble with the store is logged when it begins.
func (c *Carrier) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.cfg.Poll)
	defer ticker.Stop()
	troubled := false
	for {
		err := c.Carry(ctx)
		if err == nil && ctx.Err() == nil {
			continue // the next at once
		}
		trouble := err != nil && !errors.Is(err, ErrNone) && ctx.Err() == nil
		if trouble && !troubled {
			c.cfg.Logger.ErrorContext(ctx, "operators' requests are not carried out, trying again", slog.Any("error", err))
		}
		troubled = trouble
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Carry takes one request and carries it out, or returns ErrNone. That a request failed is told to whoever asked, and is no error.
func (c *Carrier) Carry(ctx context.Context) error {
	r, err := c.store.ClaimRequest(ctx, c.kinds, c.cfg.Holder, c.cfg.Patience+slack)
	if err != nil {
		return err
	}
	state, outcome := c.do(ctx, r)
	telling, cancel := context.WithTimeout(context.WithoutCancel(ctx), slack/3) // what was done must be told, though this process ends
	defer cancel()
	ended, err := c.store.EndRequest(telling, r.ID, c.cfg.Holder, state, outcome)
	if err == nil && !ended {
		err = fmt.Errorf("request %s is not this process's to end", r.ID)
	}
	c.cfg.Logger.InfoContext(ctx, "operator's request carried out", slog.String("request", r.ID), slog.String("kind", string(r.Kind)),
		slog.String("for", r.Actor), slog.String("state", string(state)), slog.String("outcome", outcome))
	return err
}

// do carries r out. A deed that panics has failed, and so has one that its time ran out for.
func (c *Carrier) do(running context.Context, r Request) (state State, outcome string) {
	ctx, cancel := context.WithTimeout(running, c.cfg.Patience)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			c.cfg.Logger.ErrorContext(ctx, "an operator's request made the program panic", slog.String("request", r.ID), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			state, outcome = Failed, "the program broke down over it: its log says where"
		}
	}()
	outcome, err := c.cfg.Deeds[r.Kind](ctx, r)
	const look = ", and this may be half done: look before you ask again. "
	switch {
	case err == nil:
		return Done, outcome
	case running.Err() != nil:
		return Failed, "The process was stopped" + look + err.Error()
	case ctx.Err() != nil:
		return Failed, fmt.Sprintf("It took longer than %v%s%v", c.cfg.Patience, look, err)
	}
	return Failed, err.Error()
}
