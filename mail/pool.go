package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Defaults of the pool.
const (
	defaultConns    = 10
	defaultMessages = 100 // what servers commonly allow in one session
	defaultWait     = 2 * time.Minute
	defaultIdle     = time.Minute // RFC 5321, section 4.5.3.2.7, has servers wait for five; many wait for less
	// noopAfter is the age from which an idle connection is asked before it is used: a firewall that forgot it says nothing, and a
	// MAIL into such silence would last for a whole Timeouts.Command.
	noopAfter = 15 * time.Second
	// limitMemory is how long the number of connections that a server put up with is not exceeded.
	limitMemory = time.Minute
)

var (
	errBusy        = errors.New("every connection to the server stayed in use; allow more of them, or send less at once")
	errWaitTimeout = errors.New("the time to wait for a connection is over")
	// errTooLate is told before DATA: cut off after it, nobody could tell whether the message was delivered, and the next try might be a second copy.
	errTooLate = errors.New("too little of the time for the delivery is left to wait for the server's answer")
)

// Stats are the figures of a Sender's connections.
type Stats struct {
	Open    int    // connections there are, idle ones included, and those being made
	Idle    int    // of them, kept for the next message
	Waiting int    // messages that wait for a connection
	Dialled uint64 // connections made since the start, Ping's left out
	Reused  uint64 // messages that went over a connection that was there
}

// pool keeps sessions for the next message, and bounds how many there are. A slot is the right to one connection: whoever has one
// gives the connection back (put), or the slot itself (free).
type pool struct {
	limit int
	idle  time.Duration
	now   func() time.Time

	mu       sync.Mutex
	taken    int          // slots: connections idle, in use, or being made
	sessions []*conn      // idle; the one that was used last is at the end, and goes first
	queue    []chan *conn // messages that wait, oldest first; each gets a connection, or nil: a slot
	closed   bool
	timer    *time.Timer    // runs while there are idle ones
	leaving  sync.WaitGroup // the timer's farewells

	ceiling      int // what the server put up with when it last refused one more
	ceilingUntil time.Time
	lifting      *time.Timer // runs while messages wait under a ceiling

	dialled, reused uint64
}

// take returns an idle connection, or nil, which is a slot to make one in. It waits where there are as many as there may be.
func (p *pool) take(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	if last := len(p.sessions) - 1; last >= 0 {
		c := p.sessions[last]
		p.sessions = slices.Delete(p.sessions, last, last+1)
		p.mu.Unlock()
		return c, nil
	}
	if p.taken < p.allowed() {
		p.taken++
		p.mu.Unlock()
		return nil, nil
	}
	return p.wait(ctx)
}

// lift gives those slots who wait, when the ceiling has ended.
func (p *pool) lift() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lifting = nil
	for len(p.queue) > 0 && p.taken < p.allowed() {
		p.taken++
		p.next(nil)
	}
	p.liftLater()
}

// liftLater has lift called when the ceiling ends, if there is one and anybody waits.
func (p *pool) liftLater() {
	if left := p.ceilingUntil.Sub(p.now()); p.ceiling > 0 && left > 0 && len(p.queue) > 0 && p.lifting == nil {
		p.lifting = time.AfterFunc(left, p.lift)
	}
}

func (p *pool) allowed() int {
	if p.ceiling > 0 && p.now().Before(p.ceilingUntil) {
		return min(p.limit, p.ceiling)
	}
	return p.limit
}

// refused gives up a slot because the server wants no more connections. It waits for one of the others, or for the slot of one that
// ended; where there are no others it says so, and the slot stays the caller's.
func (p *pool) refused(ctx context.Context) (c *conn, others bool, err error) {
	p.mu.Lock()
	if p.taken == 1 {
		p.mu.Unlock()
		return nil, false, nil
	}
	p.taken--
	p.ceiling, p.ceilingUntil = p.taken, p.now().Add(limitMemory)
	if last := len(p.sessions) - 1; last >= 0 { // came back in the meantime
		c := p.sessions[last]
		p.sessions = slices.Delete(p.sessions, last, last+1)
		p.mu.Unlock()
		return c, true, nil
	}
	c, err = p.wait(ctx)
	return c, true, err
}

// wait is called with the lock, and unlocks.
func (p *pool) wait(ctx context.Context) (*conn, error) {
	mine := make(chan *conn, 1)
	p.queue = append(p.queue, mine)
	p.liftLater()
	p.mu.Unlock()
	select {
	case c := <-mine:
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	if at := slices.Index(p.queue, mine); at >= 0 {
		p.queue = slices.Delete(p.queue, at, at+1)
		p.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", errBusy, ended(ctx, nil))
	}
	p.mu.Unlock()
	if c := <-mine; c == nil { // both happened at once
		p.free()
	} else if !p.put(c) {
		c.abandon()
		p.free()
	}
	return nil, fmt.Errorf("%w: %w", errBusy, ended(ctx, nil))
}

// put keeps a connection for the next message, or hands it to one that waits. It says no when nothing is kept any more.
func (p *pool) put(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.idleSince = p.now()
	switch {
	case len(p.queue) > 0:
		p.next(c)
	case p.closed:
		return false
	default:
		p.sessions = append(p.sessions, c)
		if p.timer == nil {
			p.timer = time.AfterFunc(p.idle, p.reap)
		}
	}
	return true
}

// free gives a slot back, its connection being gone.
func (p *pool) free() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 {
		p.next(nil)
		return
	}
	p.taken--
}

func (p *pool) next(c *conn) {
	p.queue[0] <- c // has room for the one answer it gets
	p.queue = slices.Delete(p.queue, 0, 1)
}

// reap takes leave of what was idle for too long.
func (p *pool) reap() {
	p.mu.Lock()
	p.timer = nil
	var old []*conn
	for len(p.sessions) > 0 { // the oldest come first
		left := p.idle - p.now().Sub(p.sessions[0].idleSince)
		if left > 0 {
			p.timer = time.AfterFunc(left, p.reap)
			break
		}
		old = append(old, p.sessions[0])
		p.sessions = slices.Delete(p.sessions, 0, 1)
	}
	for _, c := range old {
		p.leaving.Go(func() {
			c.close(context.Background()) // bounded by itself
			p.free()
		})
	}
	p.mu.Unlock()
}

// close takes leave of the idle connections. Those in use are closed by whoever uses them, when he is done.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.sessions
	p.sessions = nil
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	for _, c := range idle {
		p.leaving.Go(func() {
			c.close(context.Background())
			p.free()
		})
	}
	p.mu.Unlock()
	p.leaving.Wait()
}

func (p *pool) stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Open: p.taken, Idle: len(p.sessions), Waiting: len(p.queue), Dialled: p.dialled, Reused: p.reused}
}

func (p *pool) count(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.messages == 0 {
		p.dialled++
	} else {
		p.reused++
	}
}
