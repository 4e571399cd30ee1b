package dashboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sealq/sealq/audit"
)

const (
	// chainTime is how long a page itself checks the audit log's chain: some thousand links.
	chainTime = 30 * time.Millisecond
	// wholeChainTime bounds a check of all of it, beside the pages: some ten million links.
	wholeChainTime = 2 * time.Minute
	// chainFresh is how old a check may be before the next one is made, once somebody looks; and so many times as long as it took.
	chainFresh = 15 * time.Second
	chainShare = 20
)

// chainView is what a page says of the chain.
type chainView struct {
	Text              string
	Broken, Unchecked bool
	BrokenAt          int64
	Head, Anchor      string
	Checked           moment // zero: while the page was made
	Checking          bool   // it is being checked once more, or for the first time
}

// chainCheck is what the last check of the whole chain came to. A page that cannot check it in time shows that, and asks for the next.
type chainCheck struct {
	mu     sync.Mutex
	view   chainView
	at     time.Time // zero: never
	took   time.Duration
	long   bool // no page has the time to check it
	wanted chan struct{}
}

func newChainCheck() *chainCheck { return &chainCheck{wanted: make(chan struct{}, 1)} }

// chainNow checks the chain, as far as that takes no longer than a page may; else it is what the last check of all of it came to.
func (d *Dashboard) chainNow(ctx context.Context) (chainView, error) {
	d.chain.mu.Lock()
	last, at, fresh, long := d.chain.view, d.chain.at, max(chainFresh, chainShare*d.chain.took), d.chain.long
	d.chain.mu.Unlock()
	if !long {
		checking, cancel := context.WithTimeout(ctx, chainTime)
		defer cancel()
		view, err := d.verifyChain(checking)
		if err != nil || !view.Unchecked {
			return view, err
		}
		d.chain.mu.Lock()
		d.chain.long = true
		d.chain.view, last = view, view
		d.chain.mu.Unlock()
	}
	if d.cfg.Now().Sub(at) >= fresh {
		select {
		case d.chain.wanted <- struct{}{}:
		default:
		}
		last.Checking = true
	}
	last.Checked = d.at(at)
	return last, nil
}

// verifyChain walks the chain until ctx ends.
func (d *Dashboard) verifyChain(ctx context.Context) (chainView, error) {
	var view chainView
	anchor, err := d.cfg.Records.AuditAnchor(ctx)
	var head audit.Head
	if err == nil {
		if anchor.Position > 0 {
			view.Anchor = anchor.String()
		}
		head, err = audit.Verify(ctx, d.cfg.Records, audit.Head{})
	}
	broken, isBroken := errors.AsType[*audit.BrokenError](err)
	switch {
	case err == nil:
		view.Text = fmt.Sprintf("The chain is whole: %s, each as it was linked.", plural(head.Position-anchor.Position, "link"))
		view.Head = head.String()
	case isBroken:
		view.Broken, view.BrokenAt = true, broken.Position
		view.Text = clean(broken.Error(), maxError, false) + ". What stands before it is as it was linked; of what stands from there on nothing is known."
	case ctx.Err() != nil:
		view.Unchecked = true
		view.Text = fmt.Sprintf("The chain is long: whole up to position %d, and not looked at behind it yet.", head.Position)
	default:
		return view, err
	}
	return view, nil
}

// checkChain checks the whole chain, once somebody wants it.
func (w *watch) checkChain(ctx context.Context) {
	c := w.d.chain
	ctx, cancel := context.WithTimeout(ctx, wholeChainTime)
	defer cancel()
	begun := w.d.cfg.Now()
	view, err := w.d.verifyChain(ctx)
	if err != nil {
		w.d.cfg.Logger.WarnContext(ctx, "the audit log's chain is not checked", slog.Any("error", err))
		return
	}
	c.mu.Lock()
	c.view, c.at = view, w.d.cfg.Now()
	c.took = c.at.Sub(begun)
	c.mu.Unlock()
}

// checkChains does so until ctx ends.
func (w *watch) checkChains(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.d.chain.wanted:
			w.checkChain(ctx)
		}
	}
}
