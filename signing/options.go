package signing

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"
)

// Defaults of [Options].
const (
	DefaultSkew             = 60 * time.Second
	DefaultPropagationGrace = 5 * time.Minute
	DefaultPoll             = 60 * time.Second
	DefaultMaxPayload       = 1 << 20 // bytes
	DefaultMaxHeaders       = 64
	DefaultMaxHeaderName    = 256      // bytes
	DefaultMaxHeaderValue   = 8 << 10  // bytes
	DefaultMaxHeaderTotal   = 64 << 10 // bytes
	DefaultMaxName          = 1 << 10  // bytes
)

// ErrInvalidOptions is the cause of what [OpenWith] refuses before it reads a ring.
var ErrInvalidOptions = errors.New("invalid signing options")

// Options of [OpenWith]. The zero value is right for production, except that it logs nothing.
type Options struct {
	// Now is the clock. Nil means [time.Now].
	Now func() time.Time
	// Skew is how far clocks may differ. Zero means [DefaultSkew].
	Skew time.Duration
	// PropagationGrace is how long after its issue a task whose key is not known here is deferred, because the key may be on
	// its way. Zero means [DefaultPropagationGrace].
	PropagationGrace time.Duration
	// Poll is how often the source is read again, at most every four minutes less a bit: a ring that is not confirmed for
	// four minutes signs nothing. Zero means [DefaultPoll].
	Poll time.Duration
	// MinVersion is the highest ring version that was seen elsewhere, in the database for instance. A lower one is refused.
	// Zero accepts any.
	MinVersion uint64
	// Logger is told of new rings and of reloads that went wrong. Nil logs nothing; [Keys.Confirmed] tells too.
	Logger *slog.Logger
	// OnSigned is told of each signature, on the caller's goroutine, by whatever way a task came to be signed. Nil: nobody is.
	OnSigned func(kind string, kid KID)

	// MaxPayload limits a payload as it travels. Zero means [DefaultMaxPayload].
	MaxPayload int
	// MaxHeaders limits the headers beside the signature, to 65,535 at most. Zero means [DefaultMaxHeaders].
	MaxHeaders int
	// MaxHeaderName and MaxHeaderValue limit each header. Zero means [DefaultMaxHeaderName] and [DefaultMaxHeaderValue].
	MaxHeaderName, MaxHeaderValue int
	// MaxHeaderTotal limits all names and values together. Zero means [DefaultMaxHeaderTotal].
	MaxHeaderTotal int
	// MaxName limits the kind, the ID and the queue, each. Zero means [DefaultMaxName].
	MaxName int
}

// withDefaults fills in what is zero and refuses what makes no sense.
func withDefaults(o Options) (Options, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
		max   time.Duration
	}{
		{"Skew", &o.Skew, DefaultSkew, time.Hour},
		{"PropagationGrace", &o.PropagationGrace, DefaultPropagationGrace, 24 * time.Hour},
		{"Poll", &o.Poll, DefaultPoll, staleAfter - time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.zero
		}
		if *d.value < 0 || *d.value > d.max {
			return o, fmt.Errorf("%w: %s must lie between 0 and %s", ErrInvalidOptions, d.name, d.max)
		}
	}
	for _, n := range []struct {
		name  string
		value *int
		zero  int
		max   int
	}{
		{"MaxPayload", &o.MaxPayload, DefaultMaxPayload, math.MaxInt32},
		{"MaxHeaders", &o.MaxHeaders, DefaultMaxHeaders, math.MaxUint16},
		{"MaxHeaderName", &o.MaxHeaderName, DefaultMaxHeaderName, math.MaxInt32},
		{"MaxHeaderValue", &o.MaxHeaderValue, DefaultMaxHeaderValue, math.MaxInt32},
		{"MaxHeaderTotal", &o.MaxHeaderTotal, DefaultMaxHeaderTotal, math.MaxInt32},
		{"MaxName", &o.MaxName, DefaultMaxName, math.MaxInt32},
	} {
		if *n.value == 0 {
			*n.value = n.zero
		}
		if *n.value < 0 || *n.value > n.max {
			return o, fmt.Errorf("%w: %s must lie between 0 and %d", ErrInvalidOptions, n.name, n.max)
		}
	}
	return o, nil
}

// exceeded says which limit the task breaks by itself, whatever its headers, or nothing.
func (o *Options) exceeded(t *Task) string {
	switch {
	case len(t.Payload) > o.MaxPayload:
		return "the payload is over the limit"
	case len(t.Kind) > o.MaxName || len(t.ID) > o.MaxName || len(t.Queue) > o.MaxName:
		return "the kind, the ID or the queue is over the limit"
	case t.MaxRetry < 0 || uint64(t.MaxRetry) > math.MaxUint32:
		return "the number of retries is negative or over 4294967295"
	}
	return ""
}
