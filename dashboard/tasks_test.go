package dashboard_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"golang.org/x/net/html"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
)

// sign enqueues a genuine task.
func (w *world) sign(kind jobs.Kind, text string) (id string) {
	w.t.Helper()
	receipt, err := w.keys.Enqueue(w.t.Context(), note(kind).With(noteArgs{Note: text}))
	check(w.t, err)
	return receipt.ID
}

func task(queue, id string) string {
	return "/task?" + url.Values{"queue": {queue}, "id": {id}}.Encode()
}

func TestATasksVerdictIsShownAndNothingOfWhatDoesNotVerify(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleViewer)
	genuine := w.sign("test:note", "hello <b>")
	w.put("mail", "forged")
	a := b.page(task("mail", genuine))
	if got := texts(a.doc, "pre"); len(got) != 1 || got[0] != `{ "note": "hello <b>" }` || !strings.Contains(textOf(a.doc), "Verdict passed: it verifies; key ") {
		t.Errorf("the genuine one: %q, %s", got, textOf(a.doc))
	}
	a = b.page(task("mail", "forged"))
	if got := textOf(a.doc); !strings.Contains(got, "refused missing_signature") || strings.Contains(got, `"note"`) || !strings.Contains(got, "what does not verify is not decoded") {
		t.Errorf("the forged one: %s", got)
	}
	list := textOf(b.page("/queue?name=mail").doc)
	if !strings.Contains(list, "refused missing_signature") || !strings.Contains(list, "passed") {
		t.Errorf("the list: %s", list)
	}
	blind := open(t, func(c *dashboard.Config) { c.Judge = nil })
	id := blind.sign("test:note", "hello")
	if got := textOf(blind.as(operators.RoleViewer).page(task("mail", id)).doc); !strings.Contains(got, "not judged here") || strings.Contains(got, "hello") {
		t.Errorf("without a judge: %s", got)
	}
}

func TestArgumentsAreHiddenByKindAndShownByRoleWithAnEntry(t *testing.T) {
	t.Parallel()
	w := open(t)
	id := w.sign("test:secret", "a secret")
	viewer, operator := w.as(operators.RoleViewer), w.as(operators.RoleOperator)
	for _, b := range []*browser{viewer, operator} {
		a := b.page(task("mail", id))
		if got := texts(a.doc, "pre"); !slices.Equal(got, []string{`{ "note": "•••" }`}) || strings.Contains(a.text, "a secret") {
			t.Errorf("hidden arguments: %q", got)
		}
	}
	if a := viewer.post("/task/reveal", "queue", "mail", "id", id); a.StatusCode != http.StatusForbidden || strings.Contains(a.text, "a secret") {
		t.Errorf("a viewer is answered %d", a.StatusCode)
	}
	if got := w.entries("task."); len(got) > 0 {
		t.Errorf("entries: %q", got)
	}
	if a := operator.post("/task/reveal", "queue", "mail", "id", id); a.StatusCode != http.StatusOK || !strings.Contains(a.text, "a secret") {
		t.Errorf("an operator is answered %d", a.StatusCode)
	}
	if diff := cmp.Diff([]string{"operator:operator task.arguments_revealed task/mail/" + id}, w.entries("task.")); diff != "" {
		t.Error(diff)
	}
}

func TestTasksAreRunArchivedAndDeletedOneOrMany(t *testing.T) {
	t.Parallel()
	w := open(t)
	for _, id := range []string{"a", "b", "c"} {
		w.put("mail", id, asynq.ProcessIn(time.Hour))
	}
	b := w.as(operators.RoleOperator)
	count := func(place string) int64 {
		t.Helper()
		if place == "pending" {
			return w.redis.LLen(t.Context(), "asynq:{mail}:pending").Val()
		}
		return w.redis.ZCard(t.Context(), "asynq:{mail}:"+place).Val()
	}
	a := b.post("/tasks", "queue", "mail", "state", "scheduled", "do", "archive", "id", "a", "id", "b", "id", "gone")
	if got := textOf(a.doc); !strings.Contains(got, "Archive 3 tasks of queue mail?") || count("archived") != 0 {
		t.Errorf("it is not asked before many are archived, %d are: %s", count("archived"), got)
	}
	a = b.follow(b.agree(a))
	if got := texts(a.doc, "p"); !slices.Contains(got, "2 tasks archived. 1 task not: gone, or in a state that does not allow it.") || count("archived") != 2 {
		t.Errorf("archived %d: %q", count("archived"), got)
	}
	a = b.follow(b.post("/tasks", "queue", "mail", "do", "run", "id", "a", "one", "yes"))
	if !strings.Contains(textOf(a.doc), "1 task will run now.") || count("pending") != 1 || texts(a.doc, "h1")[0] != "Task" {
		t.Errorf("run: %s", textOf(a.doc))
	}
	if a = b.post("/tasks", "queue", "mail", "do", "delete", "id", "b", "id", "c"); !strings.Contains(textOf(a.doc), "Delete 2 tasks of queue mail?") || count("archived") != 1 {
		t.Errorf("it is not asked before tasks are deleted: %s", textOf(a.doc))
	}
	b.agree(a)
	if count("archived") != 0 || count("scheduled") != 0 {
		t.Error("not all were deleted")
	}
	want := []string{"archive task/mail/a", "archive task/mail/b", "archive task/mail/gone", "run task/mail/a", "delete task/mail/b", "delete task/mail/c"}
	for i := range want {
		want[i] = "operator:operator task." + want[i]
	}
	if diff := cmp.Diff(want, w.entries("task.")); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	var many []string
	for i := range 101 {
		many = append(many, "id", fmt.Sprint(i))
	}
	for sentence, form := range map[string][]string{
		"nothing to do": {"queue", "mail", "id", "a"}, "no task": {"queue", "mail", "do", "run"}, "too many": append(many, "queue", "mail", "do", "run"),
	} {
		if a := b.post("/tasks", form...); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: answered %d", sentence, a.StatusCode)
		}
	}
}

func TestAQueueIsPausedAndGoesOn(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleOperator)
	for _, c := range []struct{ do, state string }{{"pause", "mail is paused"}, {"resume", "mail is idle"}} {
		if a := b.follow(b.agree(b.post("/queue", "queue", "mail", "do", c.do))); !strings.Contains(textOf(a.doc), c.state) {
			t.Errorf("%s: %s", c.do, textOf(a.doc))
		}
		if a := b.post("/queue", "queue", "mail", "do", c.do, "sure", "yes"); a.StatusCode != http.StatusConflict {
			t.Errorf("%s again answered %d", c.do, a.StatusCode)
		}
	}
	for _, queue := range []string{"none", "", "{", "mail{x}"} {
		if a := b.post("/queue", "queue", queue, "do", "pause"); a.StatusCode != http.StatusNotFound {
			t.Errorf("%q answered %d", queue, a.StatusCode)
		}
	}
	if n := len(w.entries("queue.")); n != 4 {
		t.Errorf("%d entries", n)
	}
}

func TestTasksAreFoundByTheirIDWhateverTheirQueue(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.put("other", "a/b?c&d #%")
	b := w.as(operators.RoleViewer)
	a := b.follow(b.post("/find", "id", " a/b?c&d #% "))
	if !strings.Contains(textOf(a.doc), "Queue other") || !slices.Contains(texts(a.doc, "code"), "a/b?c&d #%") {
		t.Errorf("found: %s", textOf(a.doc))
	}
	for _, path := range []string{"/find?id=none", "/find?id=", "/find?id=a%2Fb%3Fc%26d+%23%25", "/find?id=" + strings.Repeat("x", 2000), task("mail", "none"), task("mail", ""), task("{", "x"), "/queue?name=%7B"} {
		if a := b.get(path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%.60s answered %d", path, a.StatusCode)
		}
	}
	if a := b.get("/queue?name=mail&state=evil"); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a state that there is not answered %d", a.StatusCode)
	}
}

func TestLongQueuesComeInPages(t *testing.T) {
	t.Parallel()
	w := open(t)
	for i := range 103 {
		w.put("mail", fmt.Sprintf("t%03d", i))
	}
	b := w.as(operators.RoleViewer)
	a := b.page("/queue?name=mail")
	if got := texts(a.doc, "tr"); len(got) != 101 || !slices.Contains(texts(a.doc, "a"), "More") || !strings.Contains(textOf(a.doc), "1 to 100 of 103") {
		t.Errorf("the first page has %d rows", len(got))
	}
	if got := texts(b.page("/queue?name=mail&state=pending&from=100").doc, "tr"); len(got) != 4 || !strings.HasPrefix(got[1], "t100") {
		t.Errorf("the second page: %q", got)
	}
}

func TestHostileContentIsShownHarmless(t *testing.T) {
	t.Parallel()
	const evil = "</title><script>alert(1)</script>\x1b[31m\u202e\u200bgpj.exe"
	const shown = "</title><script>alert(1)</script>␛[31m⟨U+202E⟩⟨U+200B⟩gpj.exe"
	w := open(t)
	client := asynq.NewClientFromRedisClient(w.redis)
	_, err := client.Enqueue(asynq.NewTaskWithHeaders(evil, []byte(evil), map[string]string{"sealq-sig": evil}), asynq.Queue("mail"), asynq.TaskID(evil))
	check(t, err)
	_, err = client.Enqueue(asynq.NewTask("big", []byte(strings.Repeat("<b>", 3_000_000))), asynq.Queue("mail"), asynq.TaskID("big"))
	check(t, err)
	check(t, w.redis.SAdd(t.Context(), "asynq:queues", evil, strings.Repeat("q", 300)).Err())
	check(t, w.redis.HSet(t.Context(), "asynq:{mail}:t:damaged", "msg", "\xff\xfe", "state", "pending").Err())
	check(t, w.redis.LPush(t.Context(), "asynq:{mail}:pending", "damaged", strings.Repeat("i", 5_000_000)).Err())
	w.refused(jobs.Refused{TaskID: evil, Queue: evil, Kind: evil, Reason: "bad_signature", Detail: evil})
	b := w.as(operators.RoleOperator)
	for _, target := range []string{"/", "/queue?name=mail", task("mail", evil), task("mail", "big"), task("mail", "damaged"), "/queue?" + url.Values{"name": {evil}}.Encode(), "/account"} {
		a := b.get(target, "User-Agent", "<script>alert(1)</script>")
		if a.StatusCode != http.StatusOK {
			t.Errorf("%.60q answered %d", target, a.StatusCode)
		}
		for _, script := range texts(a.doc, "script") {
			if script != "" {
				t.Errorf("%.60q holds a script: %s", target, script)
			}
		}
		if strings.ContainsAny(a.text, "\x1b\u202e\u200b\x00") {
			t.Errorf("%.60q holds control characters", target)
		}
		if len(a.text) > 400<<10 {
			t.Errorf("%.60q has %d bytes", target, len(a.text))
		}
	}
	a := b.page(task("mail", evil))
	if got := texts(a.doc, "code"); !slices.Contains(got, shown) {
		t.Errorf("the ID is shown as %q", got)
	}
	b.agree(b.post("/tasks", "do", "delete", "queue", hidden(a.doc, "queue"), "id", hidden(a.doc, "id"), "one", "yes"))
	if a := b.get(task("mail", evil)); a.StatusCode != http.StatusNotFound {
		t.Errorf("deleted by the page's own form, it answers %d", a.StatusCode)
	}
}

// agree says yes where it is asked whether that is really wanted, by the form that asks.
func (b *browser) agree(a answer) answer {
	b.t.Helper()
	form := url.Values{"sure": {"yes"}}
	for n := range a.doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "input" || !slices.Contains(n.Attr, html.Attribute{Key: "type", Val: "hidden"}) {
			continue
		}
		fields := make(map[string]string)
		for _, at := range n.Attr {
			fields[at.Key] = at.Val
		}
		if fields["name"] != "to" { // of the footer's form
			form.Add(fields["name"], fields["value"])
		}
	}
	if a.StatusCode != http.StatusOK || !slices.Contains(texts(a.doc, "h1"), "Are you sure?") {
		return a // it was not asked
	}
	return b.do(http.MethodPost, a.Request.URL.Path, form)
}

// hidden is the value of a form's hidden field.
func hidden(doc *html.Node, name string) string {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "input" && slices.Contains(n.Attr, html.Attribute{Key: "name", Val: name}) && slices.Contains(n.Attr, html.Attribute{Key: "type", Val: "hidden"}) {
			for _, a := range n.Attr {
				if a.Key == "value" {
					return a.Val
				}
			}
		}
	}
	return ""
}

func TestNoTwoTasksAreOneInTheAuditLog(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleOperator)
	long := strings.Repeat("x", 600)
	tasks := [][2]string{{"a", "b/c"}, {"a/b", "c"}, {"a", "b%2Fc"}, {"a", "b\x01"}, {"a", "b\x02"}, {"a", "b\xff"}, {"a", "b\ufffd"}, {"a", long + "1"}, {"a", long + "2"}, {"a/" + long[:200], long}}
	for _, names := range tasks {
		b.post("/tasks", "queue", url.QueryEscape(names[0]), "id", url.QueryEscape(names[1]), "do", "run")
	}
	got := w.entries("task.run")
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != len(tasks) {
		t.Errorf("%d subjects of %d tasks: %q", n, len(tasks), got)
	}
}

func TestForeignTextIsCutAndMadeVisible(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"plain": "plain", "a\x1b[31m\x00\r\n\u0085\x7f": "a␛[31m␀␍␊⟨U+0085⟩␡", "\u202ex\u2066\ufeff": "⟨U+202E⟩x⟨U+2066⟩⟨U+FEFF⟩", "Gr\xfc\xdfe": "Gr\ufffd\ufffde",
		"👩\u200d💻": "👩\u200d💻", "❤\ufe0f": "❤\ufe0f", "می\u200cخ": "می\u200cخ",
		"mail\u200d": "mail⟨U+200D⟩", "ма\u200dil": "ма⟨U+200D⟩il", "mail\u3164\ufe0f": "mail⟨U+3164⟩⟨U+FE0F⟩", "m\u034fa\u2800": "m⟨U+034F⟩a⟨U+2800⟩",
		" a  b ": "␠a ␠b␠", "a\u00a0b": "a⟨U+00A0⟩b", "a b": "a b", "1234567890123456789ü": "1234567890123456789… (2 more bytes)",
	} {
		if diff := cmp.Diff(want, dashboard.Clean(given, 20, false)); diff != "" {
			t.Errorf("%q: %s", given, diff)
		}
	}
	pile := strings.Repeat("\u0300", 4)
	for given, want := range map[string]string{
		"a" + pile + "b":                   "a" + pile + "b",
		"a" + pile + "\u0301\u0302b":       "a" + pile + "⟨U+0301⟩⟨U+0302⟩b",
		pile + "\u0489":                    pile + "⟨U+0489⟩",
		"a" + pile + "b" + pile + "\u0301": "a" + pile + "b" + pile + "⟨U+0301⟩",
		"क" + pile + "\u200d\u0301":        "क" + pile + "\u200d⟨U+0301⟩",
		"a" + pile + "\ufe0f\u0301":        "a" + pile + "⟨U+FE0F⟩⟨U+0301⟩",
		"a" + pile + "\u200b\u0301":        "a" + pile + "⟨U+200B⟩\u0301",
		"phở \u05d1\u05bc\u05b0\u0591 ที่ \u0f66\u0f90\u0fb1\u0f74\u0f7c": "phở \u05d1\u05bc\u05b0\u0591 ที่ \u0f66\u0f90\u0fb1\u0f74\u0f7c",
	} {
		if diff := cmp.Diff(want, dashboard.Clean(given, 100, false)); diff != "" {
			t.Errorf("%q: %s", given, diff)
		}
	}
	if got := dashboard.Clean("a\n\t  b", 20, true); got != "a\n\t  b" {
		t.Errorf("lines: %q", got)
	}
}
