package docs_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unshown are the rows of the peers' table that claim something of ours which no test shows, or give no reason for what is missing. That the
// named tests exist is held with all links.
func unshown(text string) []string {
	var found []string
	for line := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what ") {
			continue
		}
		if len(cells) != 5 {
			found = append(found, "not five cells: "+line)
			continue
		}
		what, ours, shown := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[3]), strings.TrimSpace(cells[4])
		missing := ours == "no" || strings.HasPrefix(ours, "no:")
		switch {
		case missing && (shown == "" || strings.HasPrefix(shown, "[Test")):
			found = append(found, what+": why not?")
		case !missing && !strings.HasPrefix(shown, "[Test"):
			found = append(found, what+": which test shows it?")
		}
	}
	return found
}

func TestThePeersTableNamesATestOrAReasonInEveryRow(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("dashboard-peers.md")
	if err != nil {
		t.Fatal(err)
	}
	if found := unshown(string(text)); len(found) > 0 {
		t.Errorf("rows:\n%s", strings.Join(found, "\n"))
	}
	if rows := strings.Count(string(text), "\n| "); rows < 40 {
		t.Errorf("%d rows", rows)
	}
	const bad = "| what | a | b | here | shown |\n| x | yes | no | yes | it does |\n| y | no | no | no | [TestX](x.go) |\n| z | no | no | no | why |\n| w | no |\n"
	if diff := cmp.Diff([]string{"x: which test shows it?", "y: why not?", "not five cells: | w | no |"}, unshown(bad)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
