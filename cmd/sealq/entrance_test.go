package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestEverythingButHealthAndMetricsIsThePages(t *testing.T) {
	t.Parallel()
	says := func(what string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, what) })
	}
	health, shown, pages := says("health"), says("metrics"), says("pages")
	for target, want := range map[string]string{
		"GET /healthz": "health", "HEAD /readyz": "health", "GET /readyz?x=y": "health", "GET /metrics": "metrics",
		"GET /": "pages", "GET //x": "pages", "GET //evil.example/x": "pages", "GET /x/../y": "pages", "GET /.": "pages", "GET //healthz": "pages", "GET /healthz/": "pages",
		"POST /healthz": "pages", "POST /metrics": "pages", "CONNECT //x": "pages", "GET /%2e%2e/x": "pages", "GET /readyz/../x": "pages",
	} {
		method, path, _ := strings.Cut(target, " ")
		answer := httptest.NewRecorder()
		entrance(health, shown, pages).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		if answer.Code != http.StatusOK || answer.Body.String() != want {
			t.Errorf("%s: want %s, got %d %s", target, want, answer.Code, answer.Body)
		}
	}
	for sentence, test := range map[string]struct {
		handler http.Handler
		path    string
		code    int
	}{
		"without pages there is nothing else":       {entrance(health, shown, nil), "/x", http.StatusNotFound},
		"metrics that are a page's are not shown":   {entrance(health, nil, nil), "/metrics", http.StatusNotFound},
		"health is there without pages and metrics": {entrance(health, nil, nil), "/healthz", http.StatusOK},
	} {
		answer := httptest.NewRecorder()
		test.handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, test.path, nil))
		if answer.Code != test.code {
			t.Errorf("%s: got %d", sentence, answer.Code)
		}
	}
}
