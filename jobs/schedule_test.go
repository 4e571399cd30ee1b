package jobs_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
)

type inner struct {
	Deep string `json:"deep"`
}

type manyArgs struct {
	inner
	Plain    string
	Named    int     `json:"named"`
	Optional string  `json:"optional,omitzero"`
	Empty    string  `json:"empty,omitempty"`
	Pointer  *string `json:"pointer"`
	Tagged   int     `json:"tagged" sealq:"optional"`
	Hidden   string  `json:"-"`
}

func TestArgumentsAreRequiredUnlessTheyMayBeLeftOut(t *testing.T) {
	t.Parallel()
	def := jobs.Define[manyArgs]("many", jobs.Policy{})
	want := []jobs.Argument{
		{Name: "deep", Required: true}, {Name: "Plain", Required: true}, {Name: "named", Required: true}, {Name: "optional"}, {Name: "empty"}, {Name: "pointer"}, {Name: "tagged"},
	}
	if diff := cmp.Diff(want, def.Arguments()); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if got := jobs.Define[string]("text", jobs.Policy{}).Arguments(); got != nil {
		t.Errorf("a text has arguments %v", got)
	}
	for args, missing := range map[string][]string{
		`{}`: {"deep", "Plain", "named"}, `{"deep":"","Plain":"","named":0}`: nil, `{"named":null,"deep":""}`: {"Plain"}, `7`: nil, `{`: nil,
	} {
		got, err := jobs.Missing(def, []byte(args))
		if diff := cmp.Diff(missing, got); diff != "" || (err != nil) != (missing != nil) || err != nil && !errors.Is(err, jobs.ErrInvalidArgs) {
			t.Errorf("%s: %v, missing (-want +got):\n%s", args, err, diff)
		}
	}
}
