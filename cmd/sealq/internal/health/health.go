// Package health answers /healthz and /readyz: whether the process lives, and whether it can do its work. It
// checks what it is given and knows nothing of Redis, databases or keys. It refuses to call a process ready that
// has not started or is about to stop.
package health

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Check is one thing that the process needs.
type Check struct {
	// Name is what the answer calls it.
	Name string
	// Probe says what is wrong with it, and returns when ctx ends. Its error is shown to whoever asks: it must
	// hold no secret.
	Probe func(ctx context.Context) error
	// Detail is shown beside what the probe found, whatever it found. It returns at once, and no secret. Zero: nothing is.
	Detail func() string
}

// Config of a Health.
type Config struct {
	// Checks are all made for every answer. Zero: being open is enough.
	Checks []Check
	// Timeout bounds each check. Zero: 2 s.
	Timeout time.Duration
	// Fresh is how long an answer is given again before the checks are made anew. Zero: 1 s.
	Fresh time.Duration
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Health is not ready until Open, and no more after Drain.
type Health struct {
	cfg  Config
	open atomic.Bool

	mu      sync.Mutex // held while checking, so that many askers cost one round
	checked time.Time
	results []Result
}

// Result is what a check found.
type Result struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	// Detail is what the check says beside.
	Detail string `json:"detail,omitempty"`
}

// Report is the answer of /readyz.
type Report struct {
	Ready  bool     `json:"ready"`
	Checks []Result `json:"checks"`
}

// New makes a Health that is not open yet.
func New(c Config) *Health {
	if c.Timeout <= 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Fresh <= 0 {
		c.Fresh = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Health{cfg: c}
}

// Open says that the process works.
func (h *Health) Open() { h.open.Store(true) }

// Drain says that the process is about to stop. Call it before anything stops.
func (h *Health) Drain() { h.open.Store(false) }

// Report makes the checks, or repeats what they found a moment ago.
func (h *Health) Report(ctx context.Context) Report {
	results := h.check(ctx)
	// Asked last: Drain counts at once, whatever was found before.
	report := Report{Ready: h.open.Load(), Checks: results}
	for _, r := range results {
		report.Ready = report.Ready && r.OK
	}
	return report
}

func (h *Health) check(ctx context.Context) []Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.results != nil && h.cfg.Now().Sub(h.checked) < h.cfg.Fresh {
		return h.results
	}
	// An asker who hangs up must not spoil what the others are told.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.Timeout)
	defer cancel()
	results := make([]Result, len(h.cfg.Checks))
	var probes sync.WaitGroup
	for i, c := range h.cfg.Checks {
		probes.Go(func() {
			results[i] = Result{Name: c.Name, OK: true}
			if err := c.Probe(ctx); err != nil {
				results[i] = Result{Name: c.Name, Error: err.Error()}
			}
			if c.Detail != nil {
				results[i].Detail = c.Detail()
			}
		})
	}
	probes.Wait()
	h.results, h.checked = results, h.cfg.Now()
	return results
}

// Handler serves /healthz and /readyz.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // the asker is gone, then
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		report := h.Report(r.Context())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !report.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(report) // likewise
	})
	return mux
}
