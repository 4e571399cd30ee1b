package demo_test

import (
	"bytes"
	"context"
	"io"
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
	for _, want := range []string{
		"missing_signature", "bad_signature", "expired", "duplicate", "FLUSHALL", "logs in again", "What next?",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story does not tell of %q", want)
		}
	}
}

// whileTold ends the story when it has come to some words.
type whileTold struct {
	until string
	stop  context.CancelFunc
}

func (w whileTold) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.until) {
		w.stop()
	}
	return len(p), nil
}

func TestAStepThatDoesNotHoldEndsTheStoryWithItsNumber(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := demo.Run(ctx, whileTold{until: "logs in", stop: cancel}) // no later step can hold
	if err == nil || !strings.Contains(err.Error(), "step 5") {
		t.Errorf("want an error of step 5, got %v", err)
	}
	if err := demo.Run(ctx, io.Discard); err == nil {
		t.Error("a story that was over before it began ended well")
	}
}
