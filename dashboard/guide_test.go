package dashboard_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sealq/sealq/dashboard"
)

func TestTheGuideSaysOfEveryRequestWhoMayAskAndWhoDoesIt(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/dashboard.md")
	check(t, err)
	roles := map[string]string{"POST /quarantine": "operator", "POST /keys": "admin"}
	for pattern, role := range roles { // as the table of routes has it
		if column := map[string]string{"operator": ". . . x x . x", "admin": ". . . . x . ."}[role]; allowed[pattern] != column {
			t.Errorf("%s is for %s, and the guide says %s", pattern, allowed[pattern], role)
		}
	}
	asks := dashboard.Asks()
	for what, takes := range asks {
		role := roles["POST /quarantine"]
		if strings.Contains(what, " key") {
			role = roles["POST /keys"]
		}
		if row := "| " + what + " | " + role + " | " + takes + " |"; !strings.Contains(string(guide), row) {
			t.Errorf("the guide has no row %q", row)
		}
	}
	if _, table, _ := strings.Cut(string(guide), "| asked for | by | done by |"); strings.Count(strings.Split(table, "\n\n")[0], "\n")-1 != len(asks) {
		t.Errorf("the guide's table has other rows than the %d kinds of requests", len(asks))
	}
}
