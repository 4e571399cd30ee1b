package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// mostStreams is how many pages are kept up to date at once, and mostStreamsEach how many of one operator.
	mostStreams     = 200
	mostStreamsEach = 20
	// streamBeat is how often a stream says that it is there, and looks whether its session is.
	streamBeat = 15 * time.Second
)

// streams counts them by operator, so that nobody takes those of all.
type streams struct {
	mu sync.Mutex
	of map[string]int
	n  int
}

// begin counts one more, unless there are too many.
func (s *streams) begin(operator string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= mostStreams || s.of[operator] >= mostStreamsEach {
		return false
	}
	if s.of == nil {
		s.of = make(map[string]int)
	}
	s.of[operator]++
	s.n++
	return true
}

func (s *streams) end(operator string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n--
	if s.of[operator]--; s.of[operator] == 0 {
		delete(s.of, operator)
	}
}

// operator is whose session or key it is.
func (w who) operator() string {
	name, _, _ := strings.Cut(w.name, "/")
	_, name, _ = strings.Cut(name, ":")
	return name
}

// live tells a page's script, as server-sent events, that there is something new to be fetched. It keeps no session alive, and ends with it.
func (d *Dashboard) live(v *visit) error {
	operator := v.who.operator()
	if !d.watch.streams.begin(operator) {
		return refuse(http.StatusServiceUnavailable, "Too many pages", "Too many pages are kept up to date already.")
	}
	defer d.watch.streams.end(operator)
	v.Header().Set("Content-Type", "text/event-stream")
	v.Header().Set("X-Accel-Buffering", "no") // of nginx in front
	answer := http.NewResponseController(v.ResponseWriter)
	say := func(text string) error {
		// The server's own deadlines are for pages; at that for reading it would take the reader for gone.
		if err := answer.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("stream: %w", err)
		}
		if err := answer.SetWriteDeadline(d.cfg.Now().Add(2 * streamBeat)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("stream: %w", err)
		}
		if _, err := fmt.Fprint(v, text); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		return answer.Flush()
	}
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	changed := d.watch.next() // before the reader believes that it listens
	if say("retry: 5000\n\n") != nil {
		return nil // the reader is gone
	}
	for {
		text := ": still here\n\n"
		select {
		case <-v.r.Context().Done():
			return nil
		case <-d.watch.ended():
			return nil
		case <-changed:
			changed = d.watch.next()
			text = "event: changed\ndata: 1\n\n"
		case <-beat.C:
		}
		switch err := d.identify(v, false); {
		case err != nil && !errors.Is(err, errNobody):
			return nil // nobody knows whether it is over: the page stays, says that it is old, and asks again
		case err != nil || !v.who.complete:
			_ = say("event: over\ndata: 1\n\n") // the reader is gone if it fails
			return nil
		}
		if say(text) != nil {
			return nil // likewise
		}
	}
}
