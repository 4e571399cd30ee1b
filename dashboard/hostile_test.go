package dashboard_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/requests"
	"github.com/sealq/sealq/signing"
)

// hostile is a name as an attacker would choose it: markup, an attribute's end, control characters, a turn of direction, no UTF-8, and long.
const hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[2J\x00\r\n\u202e\u2066\ufeff\xff{{.}}"

// harmless holds a page to what every page must be, whatever it shows.
func harmless(t *testing.T, where string, a answer) {
	t.Helper()
	if len(a.text) > 256<<10 {
		t.Errorf("%s has %d bytes", where, len(a.text))
	}
	plain := func(text string) {
		t.Helper()
		for _, r := range text {
			if r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Errorf("%s has U+%04X in it", where, r)
				return
			}
		}
	}
	for n := range a.doc.Descendants() {
		if n.Type != html.ElementNode {
			plain(n.Data)
			continue
		}
		if n.Data == "img" || n.Data == "script" && attribute(n, "src") != "/assets/script.js" {
			t.Errorf("%s has an element of the attacker's: %s", where, n.Data)
		}
		for _, at := range n.Attr {
			if at.Key != "value" && at.Key != "name" { // what a visitor sent himself comes back to him as it was
				plain(at.Val)
			}
			if strings.HasPrefix(at.Key, "on") || strings.HasPrefix(strings.ToLower(strings.TrimSpace(at.Val)), "javascript:") {
				t.Errorf("%s has an attribute of the attacker's: %s=%q", where, at.Key, at.Val)
			}
		}
	}
}

func TestWhatAnAttackerChoseIsEscapedAndCutOnEveryPageAboutIt(t *testing.T) {
	t.Parallel()
	long := hostile + strings.Repeat("ä\u202e", 5<<10)
	ring := aRing(true)
	ring.Keys[1].Kinds, ring.Hosts[1].Process = []string{long, hostile}, long
	w := open(t, withRing(ring), func(c *dashboard.Config) { c.Deployment = hostile; c.Releases = func(string) bool { return false } })
	headers := map[string]string{hostile: long, long: hostile}
	for i := range 50 {
		headers[strings.Repeat("h", i+1)] = long
	}
	// Ten megabytes, of which a worker keeps what it keeps.
	id := w.kept(jobs.Refused{
		TaskID: long, Queue: hostile, Kind: long, Reason: signing.ReasonWrongQueue, Detail: long, KID: hostile, Headers: headers, MaxRetry: 1 << 30, Authentic: true,
		Payload: []byte(strings.Repeat(hostile, 10<<20/len(hostile))),
	})
	for range 60 { // a full page
		w.kept(jobs.Refused{TaskID: long, Queue: long, Kind: long, Detail: long, KID: long, Reason: signing.ReasonBadSignature})
	}
	check(t, records{w.db}.Record(t.Context(), audit.Entry{Actor: long, Action: hostile, Subject: long, Detail: map[string]string{hostile: long, "x": long}}))
	r, err := requests.New("<img src=x>", long, map[string]string{hostile: long, "x": long})
	check(t, err)
	check(t, w.db.MakeRequest(t.Context(), r, time.Hour))
	_, err = w.db.ClaimRequest(t.Context(), []requests.Kind{"<img src=x>"}, long, time.Hour)
	check(t, err)
	b := w.as(operators.RoleAdmin)
	for _, page := range []string{"/", "/quarantine", entryPage(id), "/requests", "/audit", "/keys", "/quarantine?queue=" + strings.Repeat("%3Cscript%3E", 20) + "&kind=%22%3E%3Cimg%20src=x%3E&reason=%E2%80%AE"} {
		harmless(t, page, b.page(page))
	}
	_, err = w.db.EndRequest(t.Context(), r.ID, long, requests.Failed, long)
	check(t, err)
	harmless(t, "/requests, ended", b.page("/requests"))
	revealed := b.post("/quarantine/reveal", "id", id)
	harmless(t, "the bytes", revealed)
	if got := texts(revealed.doc, "pre"); len(got) != 1 || !strings.Contains(got[0], "|<script>alert(1)|") {
		t.Errorf("the bytes are not there: %.300q", got)
	}
	for sentence, form := range map[string][]string{
		"a purge":               {"do", "purge", "id", id, "authentic", "yes", hostile, hostile},
		"a purge by names":      {"do", "purge", "queue", hostile, "authentic", "yes"},
		"a release":             {"do", "release", "id", id},
		"a release of a filter": {"do", "release-all", "queue", hostile, "kind", long},
		"what is no deed":       {"do", hostile, "id", hostile},
	} {
		a := b.post("/quarantine", form...)
		if a.StatusCode == http.StatusInternalServerError {
			t.Errorf("%s is answered %d", sentence, a.StatusCode)
		}
		harmless(t, sentence, a)
	}
	for _, do := range []string{"promote", "revoke", hostile} {
		harmless(t, "keys: "+do, b.post("/keys", "do", do, "kid", hostile))
	}
}
