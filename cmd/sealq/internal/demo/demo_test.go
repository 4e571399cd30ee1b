package demo_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sealq/sealq/cmd/sealq/internal/demo"
)

func TestTheStoryHolds(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := demo.Run(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	for _, want := range []string{
		"missing_signature", "bad_signature", "expired", "duplicate", "FLUSHALL", "logs in again", "What next?",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story does not tell of %q", want)
		}
	}
}
