package health_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/sealq/sealq/cmd/sealq/internal/health"
)

func Example() {
	h := health.New(health.Config{Checks: []health.Check{
		{Name: "redis", Probe: func(context.Context) error { return errors.New("connection refused") }},
	}})
	h.Open()
	answer := httptest.NewRecorder()
	h.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/readyz", nil))
	fmt.Print(answer.Code, " ", answer.Body)
	// Output: 503 {"ready":false,"checks":[{"name":"redis","ok":false,"error":"connection refused"}]}
}
