package office_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/operators"
)

func TestATaskOfAMailShowsItsTriesWithTheirAnswers(t *testing.T) {
	t.Parallel()
	w := open(t)
	id, row := w.register(ada)
	const evil = "5.1.1 <script>alert(1)</script>\x1b\u202eeve ada@example.com"
	w.tried(id, row, authjobs.MailAnswer{Code: 451, Reply: evil, Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailTemporary}, "smtp rcpt: 451")
	_, err := asynq.NewClientFromRedisClient(w.redis).Enqueue(asynq.NewTask("mail:confirmation", nil), asynq.Queue("mail"), asynq.TaskID(row+".1"))
	check(t, err)
	target := "/task?" + url.Values{"queue": {"mail"}, "id": {row + ".1"}}.Encode()
	a := w.as(operators.RoleOperator).page(target)
	for _, want := range []string{"temporary 451 5.1.1", "␛⟨U+202E⟩eve", "The newest 50 tries are kept.", "The mail"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("it does not say %q: %s", want, a.text)
		}
	}
	if strings.Contains(a.raw, "<script>alert") || strings.ContainsAny(a.raw, "\x1b\u202e") {
		t.Errorf("it lets markup through: %s", a.raw)
	}
	if a := w.as(operators.RoleViewer).page(target); strings.Contains(a.raw, "ada@example.com") || !strings.Contains(a.text, "451 5.1.1 …") {
		t.Errorf("a viewer sees %s", a.text)
	}
	_, err = asynq.NewClientFromRedisClient(w.redis).Enqueue(asynq.NewTask("lockouts:reset", nil), asynq.Queue("mail"), asynq.TaskID("other"))
	check(t, err)
	if a := w.as(operators.RoleViewer).page("/task?queue=mail&id=other"); !strings.Contains(a.text, "Redis keeps how often a task was tried and its last error") {
		t.Errorf("of another kind: %s", a.text)
	}
}
