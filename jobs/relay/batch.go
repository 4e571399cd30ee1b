package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

// A row that this process cannot sign is left to others for as long as it has waited already, within these bounds: while a
// deployment is under way it is soon looked at again, and what nobody will ever sign costs little.
const (
	shortestLeft = 10 * time.Second
	longestLeft  = 10 * time.Minute
)

// item is a claimed row on its way into Redis.
type item struct {
	jobs.ClaimedRow
	command command    // by which asynq enqueues it; where err is nil
	err     error      // why it is not in Redis
	span    trace.Span // nil: none
}

// drain moves batch after batch until no full one waits, and returns how many rows it claimed. The next batch is claimed while
// it is written down what became of the last one: both wait for the database, and neither for the other. Only one batch at a
// time is on its way into Redis, so the order of the rows stays.
func (r *Relay) drain(ctx context.Context) (claimed int, err error) {
	rows, err := r.claim(ctx)
	for len(rows) > 0 {
		claimed += len(rows)
		full := len(rows) == r.cfg.Batch
		items := r.move(ctx, rows)
		rows = nil
		var claiming errgroup.Group
		if full && err == nil && ctx.Err() == nil {
			claiming.Go(func() (err error) {
				rows, err = r.claim(ctx)
				return err
			})
		}
		settled := r.settle(ctx, items)
		err = errors.Join(err, settled, claiming.Wait())
	}
	return claimed, err
}

func (r *Relay) claim(ctx context.Context) ([]jobs.ClaimedRow, error) {
	rows, err := r.rows.ClaimRows(ctx, jobs.Claim{
		Kinds: r.catalog.Kinds(), SkipQueues: r.holds.skip(ctx), Limit: r.cfg.Batch, Lease: r.cfg.Lease,
	})
	if err != nil {
		return nil, fmt.Errorf("claim outbox rows: %w", err)
	}
	return rows, nil
}

// move signs rows and sends them in their order. Each item that it returns has an error where its task is not in Redis.
func (r *Relay) move(ctx context.Context, rows []jobs.ClaimedRow) []*item {
	items := make([]*item, len(rows))
	for i, row := range rows {
		items[i] = &item{ClaimedRow: row}
	}
	r.holds.back(ctx, items)
	for _, it := range fine(items) {
		var traced context.Context
		traced, it.span = r.startSpan(ctx, it.ClaimedRow)
		it.command, it.err = r.sign(traced, it.ClaimedRow)
		it.KID = it.command.kid
	}
	r.send(ctx, fine(items))
	endSpans(items)
	return items
}

// fine lists the items that nothing is wrong with so far.
func fine(items []*item) []*item {
	var ok []*item
	for _, it := range items {
		if it.err == nil {
			ok = append(ok, it)
		}
	}
	return ok
}

func (r *Relay) sign(ctx context.Context, row jobs.ClaimedRow) (command, error) {
	d, err := r.catalog.Lookup(row.Kind)
	if err != nil {
		return command{}, err
	}
	return r.recorder.command(ctx, row, d)
}

// fate is what becomes of a claimed row.
type fate int

const (
	enqueued fate = iota // Redis has its task
	refused              // no relay will ever be able to sign it
	left                 // this relay cannot sign it now, others may
	waiting              // its queue is held, or nothing can be signed: it is claimed again when that is over
)

// String is for spans.
func (f fate) String() string {
	return [...]string{enqueued: "enqueued", refused: "refused", left: "left to other relays", waiting: "waits in the outbox"}[f]
}

func (it *item) fate() fate {
	_, held := errors.AsType[*heldError](it.err)
	_, unsigned := errors.AsType[*signing.SignError](it.err)
	switch {
	case it.err == nil:
		return enqueued
	case held:
		return waiting
	case errors.Is(it.err, jobs.ErrUnknownKind), errors.Is(it.err, jobs.ErrInvalidArgs):
		return left // a newer app may have the kind, or have given it another argument
	case errors.Is(it.err, jobs.ErrInvalidRow), errors.Is(it.err, signing.ErrMalformed):
		return refused
	case unsigned:
		return left
	}
	return waiting
}

// settle writes down what became of a batch. Rows that it cannot write down keep their lease and are claimed
// again when it lapses. Its error is an outage: of the database, or of whatever keeps rows from being signed.
func (r *Relay) settle(ctx context.Context, items []*item) error {
	// What was enqueued is written down even while the process stops, but not when the claims are over anyway.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Lease)
	defer cancel()
	byFate := make(map[fate][]*item)
	for _, it := range items {
		byFate[it.fate()] = append(byFate[it.fate()], it)
	}
	return errors.Join(
		r.settleEnqueued(ctx, byFate[enqueued]),
		r.settleRefused(ctx, byFate[refused]),
		r.settleLeft(ctx, byFate[left]),
		r.settleWaiting(ctx, byFate[waiting]),
	)
}

func (r *Relay) settleEnqueued(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	return r.rows.RowsEnqueued(ctx, rowsOf(items))
}

func (r *Relay) settleRefused(ctx context.Context, items []*item) error {
	var trouble []error
	for _, it := range items {
		r.cfg.Logger.ErrorContext(ctx, "outbox row refused", it.attrs()...)
		trouble = append(trouble, r.rows.RefuseRow(ctx, it.ClaimedRow, it.err.Error()))
	}
	r.counts.refused.Add(uint64(len(items)))
	return errors.Join(trouble...)
}

// settleLeft costs one statement and a line for each kind, however many rows somebody has made that nobody can sign.
func (r *Relay) settleLeft(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	now := r.cfg.Now()
	returned := make([]jobs.ReturnedRow, len(items))
	ofKind := make(map[jobs.Kind]int)
	for i, it := range items {
		pause := min(max(now.Sub(it.NotBefore), shortestLeft), longestLeft)
		returned[i] = jobs.ReturnedRow{ClaimedRow: it.ClaimedRow, Pause: pause, Cause: it.err.Error()}
		ofKind[it.Kind]++
	}
	for _, it := range items {
		if n := ofKind[it.Kind]; n > 0 {
			r.cfg.Logger.WarnContext(ctx, "outbox rows cannot be signed here, left to other relays", append(it.attrs(), slog.Int("rows", n))...)
			delete(ofKind, it.Kind)
		}
	}
	r.counts.left.Add(uint64(len(items)))
	return r.rows.ReturnRows(ctx, returned)
}

// settleWaiting returns rows without a pause, so that they keep their place: what holds their queue keeps them from being
// claimed meanwhile.
func (r *Relay) settleWaiting(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	var trouble []error
	returned := make([]jobs.ReturnedRow, len(items))
	told := make(map[string]bool)
	for i, it := range items {
		returned[i] = jobs.ReturnedRow{ClaimedRow: it.ClaimedRow, Cause: it.err.Error()}
		if _, held := errors.AsType[*heldError](it.err); !held && !told[it.Queue] {
			trouble = append(trouble, it.err)
			told[it.Queue] = true
		}
	}
	r.counts.returned.Add(uint64(len(items)))
	return errors.Join(append(trouble, r.rows.ReturnRows(ctx, returned))...)
}

func rowsOf(items []*item) []jobs.ClaimedRow {
	rows := make([]jobs.ClaimedRow, len(items))
	for i, it := range items {
		rows[i] = it.ClaimedRow
	}
	return rows
}

func (it *item) attrs() []any {
	return []any{slog.String("row", it.ID), slog.String("kind", string(it.Kind)), slog.Any("error", it.err)}
}
