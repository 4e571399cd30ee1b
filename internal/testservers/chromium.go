package testservers

import (
	"testing"

	"github.com/sealq/sealq/internal/testservers/instance"
)

// Chromium returns the path of a browser, which the test starts itself.
func Chromium(t testing.TB) string {
	t.Helper()
	path, err := fromEnv(ChromiumEnv, instance.FindChromium)
	if err != nil {
		t.Fatal(noChromium)
	}
	return path
}
