package dashboard_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/requests"
	"github.com/sealq/sealq/signing"
)

// kept puts a task into quarantine and returns the entry's ID.
func (w *world) kept(r jobs.Refused) string {
	w.t.Helper()
	r.ID = uuid.NewString()
	if r.Queue == "" {
		r.Queue = "mail"
	}
	if r.Kind == "" {
		r.Kind = "test:secret"
	}
	if r.Reason == "" {
		r.Reason = signing.ReasonBadSignature
	}
	if r.Size == 0 {
		r.Size, r.PayloadSHA256 = int64(len(r.Payload)), sha256.Sum256(r.Payload)
	}
	check(w.t, w.db.Keep(w.t.Context(), r))
	return r.ID
}

func entryPage(id string) string { return "/quarantine/entry?id=" + id }

// open requests, as "KIND args".
func (w *world) asked() (all []string) {
	w.t.Helper()
	list, err := w.db.Requests(w.t.Context(), 100)
	check(w.t, err)
	for _, r := range list {
		all = append(all, fmt.Sprint(r.Kind, " ", r.Args, " ", r.Actor, " ", r.State))
	}
	return all
}

func TestTheQuarantineIsListedInPagesAndByReasonQueueAndKind(t *testing.T) {
	t.Parallel()
	w := open(t)
	at := time.Now().Add(-time.Hour)
	for i := range 60 {
		r := jobs.Refused{TaskID: fmt.Sprintf("task-%02d", i), ReceivedAt: at.Add(time.Duration(i/7) * time.Second)}
		if i%10 == 0 {
			r.Reason, r.Queue, r.Kind = signing.ReasonExpired, "critical", "test:note"
		}
		w.kept(r)
	}
	b := w.as(operators.RoleViewer)
	a := b.page("/quarantine")
	var seen []string
	for {
		for _, cell := range texts(a.doc, "td") {
			if strings.HasPrefix(cell, "task-") {
				seen = append(seen, cell)
			}
		}
		next := links(a.doc)["More"]
		if next == "" {
			break
		}
		a = b.page(next)
		if links(a.doc)["First page"] != "/quarantine" {
			t.Errorf("no way back: %v", links(a.doc))
		}
	}
	slices.Sort(seen)
	if len(seen) != 60 || len(slices.Compact(seen)) != 60 {
		t.Errorf("%d entries in all pages", len(seen))
	}
	for _, query := range []string{"?reason=expired", "?queue=critical", "?kind=test:note", "?reason=expired&queue=critical&kind=test:note"} {
		if got := len(texts(b.page("/quarantine"+query).doc, "tr")) - 1; got != 6 {
			t.Errorf("%s: %d entries", query, got)
		}
	}
	for _, query := range []string{"?queue=none", "?reason=%00%ff", "?before=1.x"} {
		if got := textOf(b.page("/quarantine" + query).doc); !strings.Contains(got, "Nothing of that is in quarantine.") {
			t.Errorf("%s: %s", query, got)
		}
	}
	b.page("/quarantine?before=%ff.%00") // what is no place is the first page
}

func TestAnEntryShowsWhatItDiffersInFromTheOutboxRowOfItsName(t *testing.T) {
	t.Parallel()
	w := open(t)
	id := w.outboxed(note("test:note").With(noteArgs{Note: "hello"}))
	same, row := []byte(`{"note":"hello"}`), id+".1"
	b := w.as(operators.RoleViewer)
	for sentence, c := range map[string]struct {
		r    jobs.Refused
		want []string
	}{
		"a copy":         {jobs.Refused{TaskID: row, Kind: "test:note", Payload: same}, []string{"in nothing"}},
		"another queue":  {jobs.Refused{TaskID: row, Kind: "test:note", Payload: same, Queue: "critical"}, []string{"It lay in the queue critical, and the row is of mail."}},
		"other bytes":    {jobs.Refused{TaskID: row, Kind: "test:note", Payload: []byte(`{"note":"help!"}`)}, []string{"from byte 12 on: 16 bytes, and the row's has 16."}},
		"more bytes":     {jobs.Refused{TaskID: row, Kind: "test:note", Payload: append(slices.Clone(same), ' ')}, []string{"from byte 16 on"}},
		"another kind":   {jobs.Refused{TaskID: row, Kind: "evil<b>", Payload: same}, []string{"Its kind is evil<b>, and the row's test:note."}},
		"a later try":    {jobs.Refused{TaskID: id + ".7", Kind: "test:note", Payload: same}, []string{"It is attempt 7, and the row is at attempt 1."}},
		"cut when kept":  {jobs.Refused{TaskID: row, Kind: "test:note", Payload: same, Size: 5 << 30}, []string{"Its payload is another one: 5368709120 bytes"}},
		"no row's name":  {jobs.Refused{TaskID: "x.1", Payload: same}, nil},
		"an unknown row": {jobs.Refused{TaskID: uuid.NewString() + ".1", Payload: same}, nil},
	} {
		got := textOf(b.page(entryPage(w.kept(c.r))).doc)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in %s", sentence, want, got)
			}
		}
		if strings.Contains(got, "The outbox row of that name") != (c.want != nil) {
			t.Errorf("%s: %s", sentence, got)
		}
	}
}

func TestBytesAreHiddenBoundedAndRevealedToOperatorsWithAnEntry(t *testing.T) {
	t.Parallel()
	w := open(t)
	secret := w.kept(jobs.Refused{TaskID: "a", Payload: []byte("a secret" + strings.Repeat("x", 5000))})
	claims := w.kept(jobs.Refused{TaskID: "b", Kind: "test:note", Payload: []byte("a secret")}) // says itself that it is of a plain kind
	plain := w.kept(jobs.Refused{TaskID: "c", Kind: "test:note", Payload: []byte("no secret"), Authentic: true, KID: "0011aabb"})
	viewer, operator := w.as(operators.RoleViewer), w.as(operators.RoleOperator)
	for _, id := range []string{secret, claims} {
		for _, b := range []*browser{viewer, operator} {
			if a := b.page(entryPage(id)); len(texts(a.doc, "pre")) > 0 || strings.Contains(a.text, "a secret") {
				t.Errorf("the bytes are there: %s", a.text)
			}
		}
		if a := viewer.post("/quarantine/reveal", "id", id); a.StatusCode != http.StatusForbidden {
			t.Errorf("a viewer is answered %d", a.StatusCode)
		}
	}
	if got := texts(viewer.page(entryPage(plain)).doc, "pre"); len(got) != 1 || !strings.Contains(got[0], "|no secret|") {
		t.Errorf("a plain kind's: %q", got)
	}
	if got := w.entries("quarantine."); len(got) > 0 {
		t.Errorf("entries: %q", got)
	}
	a := operator.post("/quarantine/reveal", "id", secret)
	if got := texts(a.doc, "pre"); len(got) != 1 || !strings.Contains(got[0], "|a secretxxxxxxxx|") || !strings.Contains(textOf(a.doc), "and 912 more bytes") {
		t.Errorf("revealed: %.300q", got)
	}
	if diff := cmp.Diff([]string{"operator:operator quarantine.bytes_revealed quarantine/" + secret}, w.entries("quarantine.")); diff != "" {
		t.Error(diff)
	}
}

func TestAnEntryIsReleasedByARequestThatIsConfirmed(t *testing.T) {
	t.Parallel()
	w := open(t)
	id := w.kept(jobs.Refused{TaskID: "a<b>", Reason: signing.ReasonExpired, Authentic: true})
	b := w.as(operators.RoleOperator)
	a := b.post("/quarantine", "do", "release", "id", id)
	if got := textOf(a.doc); a.StatusCode != http.StatusOK || !strings.Contains(got, "Release the refused task a<b>") || !strings.Contains(got, "runs once, as a new outbox row") {
		t.Errorf("the question: %d, %s", a.StatusCode, got)
	}
	if got := w.asked(); len(got) > 0 {
		t.Errorf("asked before it was confirmed: %q", got)
	}
	a = b.follow(b.do(http.MethodPost, "/quarantine", formOf(t, a, "sure", "yes")))
	if got := textOf(a.doc); texts(a.doc, "h1")[0] != "Refused task" || !strings.Contains(got, "waiting Release from quarantine") {
		t.Errorf("afterwards: %s", got)
	}
	want := []string{"quarantine.release map[ids:" + id + "] operator:operator waiting"}
	if diff := cmp.Diff(want, w.asked()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	if a := b.post("/quarantine", "do", "release", "id", id, "sure", "yes"); a.StatusCode != http.StatusConflict || len(w.asked()) != 1 {
		t.Errorf("twice: answered %d", a.StatusCode)
	}
	if a := b.post("/quarantine", "do", "release", "id", "none", "sure", "yes"); a.StatusCode != http.StatusNotFound {
		t.Errorf("no such entry: answered %d", a.StatusCode)
	}
	entries := w.entries("request.")
	if len(entries) != 1 || !strings.HasPrefix(entries[0], "operator:operator request.made request/") {
		t.Errorf("entries: %q", entries)
	}
}

func TestAPurgeTellsWhatItMeansAndNothingIsNotEverything(t *testing.T) {
	t.Parallel()
	w := open(t)
	old := time.Now().Add(-40 * 24 * time.Hour)
	one := w.kept(jobs.Refused{TaskID: "a"})
	w.kept(jobs.Refused{TaskID: "b", ReceivedAt: old})
	w.kept(jobs.Refused{TaskID: "c", ReceivedAt: old, Authentic: true, Reason: signing.ReasonExpired})
	b := w.as(operators.RoleOperator)
	for sentence, c := range map[string]struct {
		form   []string
		status int
		says   string
	}{
		"nothing chosen":      {[]string{}, http.StatusUnprocessableEntity, "nothing is not everything"},
		"an age that is none": {[]string{"age", "1s", "reason", "expired"}, http.StatusUnprocessableEntity, "Say what"},
		"no such reason":      {[]string{"reason", "<b>"}, http.StatusUnprocessableEntity, "Say what"},
		"signed ones stay":    {[]string{"reason", "expired"}, http.StatusNotFound, "Nothing to purge"},
		"signed ones too":     {[]string{"reason", "expired", "authentic", "yes"}, http.StatusOK, "Signed by a key of ours: 1 of these."},
		"by queue and kind":   {[]string{"queue", "mail", "kind", "test:secret"}, http.StatusOK, "Purge 2 entries ("},
		"those chosen":        {[]string{"id", one, "id", "gone"}, http.StatusOK, "1 of those that were chosen stay"},
		"by age":              {[]string{"age", "30d"}, http.StatusOK, "Purge 1 entry ("},
		"by reason":           {[]string{"reason", "bad_signature"}, http.StatusOK, "Purge 2 entries ("},
		"one":                 {[]string{"id", one}, http.StatusOK, "Purge 1 entry ("},
	} {
		a := b.post("/quarantine", append([]string{"do", "purge"}, c.form...)...)
		if got := textOf(a.doc); a.StatusCode != c.status || !strings.Contains(got, c.says) {
			t.Errorf("%s: answered %d, %s", sentence, a.StatusCode, got)
		}
	}
	if got := w.asked(); len(got) > 0 {
		t.Errorf("asked before it was confirmed: %q", got)
	}
	b.post("/quarantine", "do", "purge", "age", "30d", "authentic", "yes", "sure", "yes")
	if diff := cmp.Diff([]string{"quarantine.purge map[authentic:true older_than:720h0m0s] operator:operator waiting"}, w.asked()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

func TestARequestIsToldUntilItHasEndedAndThatNobodyTakesIt(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := open(t, func(c *dashboard.Config) { c.Now = func() time.Time { return now } })
	id := w.kept(jobs.Refused{TaskID: "a"})
	b := w.as(operators.RoleOperator)
	shows := func(wants ...string) {
		t.Helper()
		for _, page := range []string{"/requests", "/quarantine", entryPage(id)} {
			got := textOf(b.page(page).doc)
			for _, want := range wants {
				if !strings.Contains(got, want) {
					t.Errorf("%s does not say %q: %s", page, want, got)
				}
			}
		}
	}
	b.post("/quarantine", "do", "purge", "id", id, "sure", "yes")
	shows("It waits to be taken.")
	now = time.Now().Add(80 * time.Second) // the request is as old as the database says
	shows("Nobody has taken it for 1 min. It takes a worker or a scheduler: is one running?")
	carrier, err := requests.NewCarrier(w.db, requests.Config{Holder: "host/1", Deeds: map[requests.Kind]requests.Deed{
		requests.Purge: func(_ context.Context, r requests.Request) (string, error) {
			shows("Taken by host/1.")
			return "1 entry purged: " + r.Args["ids"] + " <script>", nil
		},
	}})
	check(t, err)
	check(t, carrier.Carry(t.Context()))
	shows("done Purge of the quarantine", "1 entry purged: "+id+" <script>", "by operator")
	if a := b.page("/requests"); strings.Contains(a.text, "purged: "+id+" <script>") {
		t.Error("the outcome is not escaped")
	}
}

func TestManyAreReleasedByOneRequestChosenOrByFilter(t *testing.T) {
	t.Parallel()
	w := open(t)
	one := w.kept(jobs.Refused{TaskID: "a", Reason: signing.ReasonExpired, Authentic: true})
	two := w.kept(jobs.Refused{TaskID: "b", Reason: signing.ReasonExpired, Authentic: true})
	w.kept(jobs.Refused{TaskID: "c"})
	b := w.as(operators.RoleOperator)
	var many []string
	for i := range 51 {
		many = append(many, "id", fmt.Sprint(i))
	}
	for sentence, c := range map[string]struct {
		form   []string
		status int
		says   string
	}{
		"none chosen":               {[]string{"do", "release"}, http.StatusUnprocessableEntity, "Nothing was chosen"},
		"too many":                  {append([]string{"do", "release"}, many...), http.StatusUnprocessableEntity, "At most 50"},
		"what is no ID":             {[]string{"do", "release", "id", one, "id", "a b"}, http.StatusNotFound, "No such entry"},
		"two chosen":                {[]string{"do", "release", "id", one, "id", two}, http.StatusOK, "Release these 2 refused tasks?"},
		"all":                       {[]string{"do", "release-all"}, http.StatusUnprocessableEntity, "nothing is not everything"},
		"all, only what was signed": {[]string{"do", "release-all", "signed", "yes"}, http.StatusUnprocessableEntity, "nothing is not everything"},
		"all of a reason":           {[]string{"do", "release-all", "reason", "expired"}, http.StatusOK, "Release 2 refused tasks?"},
		"all that are forged":       {[]string{"do", "release-all", "reason", "bad_signature"}, http.StatusNotFound, "Nothing to release"},
		"what is no deed":           {[]string{"do", "burn", "id", one}, http.StatusBadRequest, "No such thing"},
	} {
		a := b.post("/quarantine", c.form...)
		if got := textOf(a.doc); a.StatusCode != c.status || !strings.Contains(got, c.says) {
			t.Errorf("%s: answered %d, %s", sentence, a.StatusCode, got)
		}
	}
	if got := w.asked(); len(got) > 0 {
		t.Errorf("asked before it was confirmed: %q", got)
	}
	confirmed := func(form ...string) answer {
		t.Helper()
		return b.follow(b.do(http.MethodPost, "/quarantine", formOf(t, b.post("/quarantine", form...), "sure", "yes")))
	}
	confirmed("do", "release", "id", one, "id", two)
	a := confirmed("do", "release-all", "reason", "expired", "queue", "mail")
	if got := a.Request.URL.String(); !strings.HasSuffix(got, "/quarantine?queue=mail&reason=expired") {
		t.Errorf("it leads to %s", got)
	}
	want := []string{
		"quarantine.release map[queue:mail reason:expired] operator:operator waiting",
		"quarantine.release map[ids:" + min(one, two) + " " + max(one, two) + "] operator:operator waiting",
	}
	if diff := cmp.Diff(want, w.asked()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	if got := len(texts(b.page("/quarantine?signed=yes").doc, "tr")) - 1; got != 2 {
		t.Errorf("%d entries may be released", got)
	}
}

func TestWhyAnEntryCannotBeReleasedIsSaidAndItsRowIsReissuedInstead(t *testing.T) {
	t.Parallel()
	w := open(t, func(c *dashboard.Config) { c.Releases = func(kind string) bool { return kind == "test:note" } })
	row := w.outboxed(note("test:note").With(noteArgs{Note: "hello"}))
	b := w.as(operators.RoleOperator)
	for sentence, c := range map[string]struct {
		r     jobs.Refused
		why   string // "": it can be
		again bool   // its row can be reissued
	}{
		"signed":                       {jobs.Refused{TaskID: "a", Kind: "test:note", Reason: signing.ReasonExpired, Authentic: true}, "", false},
		"its key was not known":        {jobs.Refused{TaskID: "b", Kind: "test:note", Reason: signing.ReasonUnknownKey}, "", false},
		"unsigned":                     {jobs.Refused{TaskID: "c", Kind: "test:note", Reason: signing.ReasonMissingSignature}, "It bears no signature that could be verified", false},
		"of a kind of an app":          {jobs.Refused{TaskID: "d", Kind: "app:<b>", Reason: signing.ReasonExpired, Authentic: true}, "sealq does not know the arguments of the kind app:<b>", false},
		"unsigned, under a row's name": {jobs.Refused{TaskID: row + ".1", Kind: "test:note", Reason: signing.ReasonMissingSignature}, "It bears no signature", true},
		"unsigned, under no row's":     {jobs.Refused{TaskID: uuid.NewString() + ".1", Kind: "test:note", Reason: signing.ReasonMissingSignature}, "It bears no signature", false},
	} {
		id := w.kept(c.r)
		a := b.page(entryPage(id))
		buttons := texts(a.doc, "button")
		if slices.Contains(buttons, "Release …") != (c.why == "") || slices.Contains(buttons, "Reissue the row …") != c.again || !strings.Contains(textOf(a.doc), c.why) {
			t.Errorf("%s: %q, %s", sentence, buttons, textOf(a.doc))
		}
		if a := b.post("/quarantine", "do", "release", "id", id); (a.StatusCode == http.StatusOK) != (c.why == "") {
			t.Errorf("%s: a release is answered %d", sentence, a.StatusCode)
		}
		if a := b.post("/quarantine", "do", "reissue", "id", id); (a.StatusCode == http.StatusOK) != c.again || c.again && !strings.Contains(textOf(a.doc), "as attempt 2") {
			t.Errorf("%s: a reissue is answered %d: %s", sentence, a.StatusCode, textOf(a.doc))
		}
		if c.again {
			b.post("/quarantine", "do", "reissue", "id", id, "sure", "yes")
		}
	}
	want := []string{"outbox.reissue map[attempt:1 kind:test:note row:" + row + "] operator:operator waiting"}
	if diff := cmp.Diff(want, w.asked()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

func TestWhatNobodyTookOrToldOfIsSaidSo(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleOperator)
	id := w.kept(jobs.Refused{TaskID: "a", Authentic: true, Reason: signing.ReasonExpired})
	b.post("/quarantine", "do", "release", "id", id, "sure", "yes")
	later := func(statement string) {
		t.Helper()
		check(t, w.db.InTx(t.Context(), func(tx *sql.Tx) error { _, err := tx.ExecContext(t.Context(), statement); return err }))
	}
	later("UPDATE requests SET expires_at = made_at")
	if got := textOf(b.page("/requests").doc); !strings.Contains(got, "expired Release from quarantine Nobody took it in time, and nothing was done. It takes a worker (sealq worker, sealq serve), which has the keys.") {
		t.Errorf("expired: %s", got)
	}
	b.post("/quarantine", "do", "release", "id", id, "sure", "yes") // it may be asked for anew
	_, err := w.db.ClaimRequest(t.Context(), []requests.Kind{requests.Release}, "host<b>/1", time.Minute)
	check(t, err)
	later("UPDATE requests SET lease_until = taken_at WHERE state = 'taken'")
	if got := textOf(b.page(entryPage(id)).doc); !strings.Contains(got, "lost Release from quarantine Taken by host<b>/1, which has not told how it ended: look before you ask again. Nobody else does it.") {
		t.Errorf("lost: %s", got)
	}
}
