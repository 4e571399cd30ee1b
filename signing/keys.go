package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

const maxAudienceSize = 255 // bytes

// ErrInvalidAudience says that a text cannot name a deployment.
var ErrInvalidAudience = errors.New("the audience must be 1 to 255 bytes of UTF-8 text without spaces or control characters, like prod-eu")

// Keys signs and verifies for one deployment with the ring that its source last gave. It is safe for concurrent use, and
// reads the source again by itself: every [Options].Poll, when a [Watcher] tells of a change, and once in a while when a task
// names a key that it does not know. A ring that cannot be read, or is older than the one it holds, changes nothing but
// [Keys.Confirmed].
type Keys struct {
	source   Source
	audience string
	opts     Options
	scratch  scratchPool

	current   atomic.Pointer[derivedRing]
	confirmed atomic.Pointer[confirmation]

	stop context.CancelFunc
	done chan struct{} // closed when the polling goroutine has ended

	reload reloader
}

// confirmation is when the source last confirmed the ring, and what went wrong since.
type confirmation struct {
	at  time.Time
	err error
}

// Open follows the source ("file:PATH", or "env:NAME" for development) until ctx ends or [Keys.Close]. The audience names the
// deployment: what is signed for one never verifies in another.
func Open(ctx context.Context, source, audience string) (*Keys, error) {
	s, err := ParseSource(source)
	if err != nil {
		return nil, fmt.Errorf("open the key ring: %w", err)
	}
	return OpenWith(ctx, s, audience, Options{})
}

// OpenWith is [Open] with any source and with options. It loads the ring before it returns.
func OpenWith(ctx context.Context, source Source, audience string, o Options) (*Keys, error) {
	o, err := withDefaults(o)
	if err != nil {
		return nil, err
	}
	if audience == "" || len(audience) > maxAudienceSize || !utf8.ValidString(audience) ||
		strings.ContainsFunc(audience, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return nil, ErrInvalidAudience
	}
	k := &Keys{source: source, audience: audience, opts: o, done: make(chan struct{})}
	if err := k.load(ctx); err != nil {
		return nil, fmt.Errorf("open the key ring: %w", err)
	}
	running, stop := context.WithCancel(ctx)
	k.stop, k.reload.ctx = stop, running
	go k.poll(running)
	return k, nil
}

// Close ends the reloading and waits for it. Verifying goes on with the last ring; signing ends four minutes later.
func (k *Keys) Close() {
	k.stop()
	<-k.done
	k.reload.wait()
}

// Audience returns the deployment's name.
func (k *Keys) Audience() string { return k.audience }

// Version returns the version of the ring in use.
func (k *Keys) Version() uint64 { return k.current.Load().ring.version }

// MaxLifetime returns how long a signature may live, by the ring in use.
func (k *Keys) MaxLifetime() time.Duration { return k.current.Load().ring.maxLifetime }

// MaxPayload is how many bytes a payload has at most (Options.MaxPayload).
func (k *Keys) MaxPayload() int { return k.opts.MaxPayload }

// Infos returns what may be known about the keys of the ring in use.
func (k *Keys) Infos() []KeyInfo { return k.current.Load().ring.Keys() }

// CheckValues returns a value for each key that has a secret. Processes publish it: where two of them differ for one kid, one
// has another audience and would refuse all that the other signs.
func (k *Keys) CheckValues() map[KID][16]byte {
	d := k.current.Load()
	values := make(map[KID][16]byte, len(d.byKID))
	for kid, dk := range d.byKID {
		if dk.mac != nil {
			values[kid] = dk.check
		}
	}
	return values
}

// Confirmed returns when the source last confirmed the ring in use, and what went wrong since then, if anything did.
func (k *Keys) Confirmed() (at time.Time, err error) {
	c := k.confirmed.Load()
	return c.at, c.err
}

// String describes the keys without their secrets.
func (k *Keys) String() string {
	return fmt.Sprintf("keys of %s from %s, %s", k.audience, k.source, k.current.Load().ring)
}

// GoString describes the keys without their secrets.
func (k *Keys) GoString() string { return k.String() }

// Format describes the keys without their secrets, whatever the verb.
func (k *Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue describes the keys without their secrets.
func (k *Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// reloader runs at most one load at a time. All of its fields but ctx are guarded by mu.
type reloader struct {
	ctx context.Context //nolint:containedctx // the life of Keys: loads end with it, not with the caller that happened to ask

	mu     sync.Mutex
	flight *flight // the load that is running, or nil
	asked  time.Time
	wg     sync.WaitGroup
	closed bool
}

// wait lets the running load end and starts no other.
func (r *reloader) wait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wg.Wait()
}
