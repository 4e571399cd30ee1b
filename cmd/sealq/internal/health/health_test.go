package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cmd/sealq/internal/health"
)

func ok(context.Context) error      { return nil }
func refused(context.Context) error { return errors.New("connection refused") }

func ask(t *testing.T, h *health.Health, method, path string) (int, health.Report) {
	t.Helper()
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	var report health.Report
	if path == "/readyz" && w.Body.Len() > 0 {
		_ = json.Unmarshal(w.Body.Bytes(), &report)
	}
	return w.Code, report
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		redis func(context.Context) error
		then  func(*health.Health)
		code  int
		want  health.Report
	}{
		"ready once open, when every check holds": {
			ok, (*health.Health).Open, http.StatusOK,
			health.Report{Ready: true, Checks: []health.Result{{Name: "redis", OK: true}, {Name: "database", OK: true}}},
		},
		"not ready before": {
			ok, func(*health.Health) {}, http.StatusServiceUnavailable,
			health.Report{Checks: []health.Result{{Name: "redis", OK: true}, {Name: "database", OK: true}}},
		},
		"not ready when a check fails, which is named": {
			refused, (*health.Health).Open, http.StatusServiceUnavailable,
			health.Report{Checks: []health.Result{{Name: "redis", Error: "connection refused"}, {Name: "database", OK: true}}},
		},
		"not ready once it drains": {
			ok, func(h *health.Health) { h.Open(); h.Drain() }, http.StatusServiceUnavailable,
			health.Report{Checks: []health.Result{{Name: "redis", OK: true}, {Name: "database", OK: true}}},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			h := health.New(health.Config{Checks: []health.Check{{Name: "redis", Probe: test.redis}, {Name: "database", Probe: ok}}})
			test.then(h)
			code, report := ask(t, h, http.MethodGet, "/readyz")
			if code != test.code {
				t.Errorf("got %d, want %d", code, test.code)
			}
			if diff := cmp.Diff(test.want, report); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

func TestACheckTellsItsDetailWhateverTheProbeFinds(t *testing.T) {
	t.Parallel()
	detail := func() string { return "ring version 7" }
	h := health.New(health.Config{Checks: []health.Check{{Name: "keys", Probe: ok, Detail: detail}, {Name: "stale", Probe: refused, Detail: detail}}})
	h.Open()
	_, report := ask(t, h, http.MethodGet, "/readyz")
	want := health.Report{Checks: []health.Result{
		{Name: "keys", OK: true, Detail: "ring version 7"}, {Name: "stale", Error: "connection refused", Detail: "ring version 7"},
	}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestDrainCountsAtOnceWhateverIsRemembered(t *testing.T) {
	t.Parallel()
	h := health.New(health.Config{Fresh: time.Hour})
	h.Open()
	if code, _ := ask(t, h, http.MethodGet, "/readyz"); code != http.StatusOK {
		t.Fatalf("got %d, want 200", code)
	}
	h.Drain()
	if code, _ := ask(t, h, http.MethodGet, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("got %d, want 503", code)
	}
	if code, _ := ask(t, h, http.MethodGet, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: got %d, want 200: the process lives", code)
	}
}

func TestWhatIsNotAskedForIsRefused(t *testing.T) {
	t.Parallel()
	h := health.New(health.Config{})
	for path, want := range map[string]int{"/": http.StatusNotFound, "/metrics": http.StatusNotFound} {
		if code, _ := ask(t, h, http.MethodGet, path); code != want {
			t.Errorf("GET %s: got %d, want %d", path, code, want)
		}
	}
	if code, _ := ask(t, h, http.MethodPost, "/readyz"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST /readyz: got %d, want 405", code)
	}
}

func TestManyAskersCostOneRoundASecond(t *testing.T) {
	t.Parallel()
	var rounds, seconds atomic.Int64
	h := health.New(health.Config{
		Checks: []health.Check{{Name: "redis", Probe: func(context.Context) error { rounds.Add(1); return nil }}},
		Now:    func() time.Time { return time.Unix(seconds.Load(), 0) },
	})
	for round := range int64(3) {
		var askers sync.WaitGroup
		for range 50 {
			askers.Go(func() { h.Report(t.Context()) })
		}
		askers.Wait()
		if got := rounds.Load(); got != round+1 {
			t.Errorf("second %d: got %d rounds for 50 askers each, want %d", round, got, round+1)
		}
		seconds.Add(1)
	}
}

func TestACheckThatHangsIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := health.New(health.Config{Checks: []health.Check{
			{Name: "redis", Probe: func(ctx context.Context) error { <-ctx.Done(); return errors.New("no answer in time") }},
			{Name: "database", Probe: ok},
		}})
		h.Open()
		began := time.Now()
		asker, hangUp := context.WithCancel(t.Context())
		hangUp() // what others are told must not depend on it
		report := h.Report(asker)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v, want 2s", took)
		}
		want := health.Report{Checks: []health.Result{{Name: "redis", Error: "no answer in time"}, {Name: "database", OK: true}}}
		if diff := cmp.Diff(want, report); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	})
}
