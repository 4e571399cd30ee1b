package operators_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/operators"
)

func TestEveryRoleMayWhatTheOnesBeforeItMay(t *testing.T) {
	t.Parallel()
	const order = "viewer operator admin"
	got := make([]string, 0, 3)
	for i, role := range operators.Roles() {
		got = append(got, string(role))
		for j, least := range operators.Roles() {
			if role.May(least) != (i >= j) {
				t.Errorf("%s may what %s may: %v", role, least, role.May(least))
			}
		}
		if role.May("") || operators.Role("").May(role) || operators.Role("root").May(role) || role.May("root") {
			t.Errorf("%s is compared with what is no role", role)
		}
	}
	if diff := cmp.Diff(order, strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
}
