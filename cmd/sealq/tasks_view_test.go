package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

func TestNamesAreShownSoThatATerminalDoesNotObeyThem(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"plain.1":       "plain.1",
		"":              "",
		"ünïcode":       "ünïcode",
		"a\x1b[2J":      `"a\x1b[2J"`,
		"a\u009b1m":     `"a\u009b1m"`,
		"a\u202eb":      `"a\u202eb"`,
		"two\nlines":    `"two\nlines"`,
		"\xff":          `"\xff"`,
		`"quoted"`:      `"\"quoted\""`,
		"a\u200bb":      `"a\u200bb"`,
		`back\slash "x`: `back\slash "x`,
	} {
		if got := shownName(name); got != want {
			t.Errorf("%q: want %s, got %s", name, want, got)
		}
	}
	if err := quick.Check(func(name []byte) bool { return nameOf(shownName(string(name))) == string(name) }, nil); err != nil {
		t.Error(err)
	}
	if got := nameOf(`"half`); got != `"half` {
		t.Errorf("what is no quoted name is a name: got %s", got)
	}
}

func TestArgumentsAreShownInPrintableASCII(t *testing.T) {
	t.Parallel()
	want := map[string]any{"a": "ü\u009b\u202e😀", "b": []any{1.0, "x\n"}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	text = append([]byte("\t"), text...)
	got := plainJSON(text)
	if strings.ContainsFunc(string(got), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("got %s", got)
	}
	var back map[string]any
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestColumnsAreBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "-", "12345": "12345", "123456": "1234…", "üüüüüü": "üüüü…"} {
		if got := cut(text, 5); got != want {
			t.Errorf("%s: want %s, got %s", text, want, got)
		}
	}
}

func TestEveryProblemIsExplained(t *testing.T) {
	t.Parallel()
	for _, p := range []rawtask.Problem{
		rawtask.NoTask, rawtask.WrongType, rawtask.Undecodable, rawtask.TooLarge, rawtask.OtherID, rawtask.OtherQueue, rawtask.StateDiffers,
		rawtask.TwoPlaces, rawtask.InNoList, rawtask.NoLease, rawtask.PastDeadline, rawtask.Grouped, rawtask.LongID,
	} {
		if problemText(p) == "" {
			t.Errorf("%s is not", p)
		}
	}
}

func TestArgumentsThatTravelEncryptedAreShownOnRequestOnly(t *testing.T) {
	t.Parallel()
	file := signing.NewFile(filepath.Join(t.TempDir(), "keys.json"))
	ring, err := signing.NewRing(time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Create(ring); err != nil {
		t.Fatal(err)
	}
	keys, err := signing.OpenWith(t.Context(), file, "test", signing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	catalog, err := jobs.NewCatalog(jobs.Define[map[string]string]("test:secret", jobs.Policy{Encrypt: true}))
	if err != nil {
		t.Fatal(err)
	}
	m := rawtask.Message{Kind: "test:secret", ID: "a", Queue: "mail", Headers: map[string]string{}}
	sig, payload, err := keys.Sign(signing.Task{Kind: m.Kind, ID: m.ID, Queue: m.Queue, Payload: []byte(`{"note":"tell-nobody"}`)},
		signing.Validity{Expires: time.Now().Add(time.Hour), Encrypt: true})
	if err != nil {
		t.Fatal(err)
	}
	m.Payload, m.Headers[signing.SignatureHeader] = payload, sig
	f := rawtask.Found{Queue: "mail", ID: "a", Message: m}
	j, err := judge.New(judge.Config{Keys: keys, Catalog: catalog})
	if err != nil {
		t.Fatal(err)
	}
	v, err := j.Judge(t.Context(), f)
	if err != nil || v.Outcome != judge.Passed {
		t.Fatalf("got %+v, %v", v, err)
	}
	for _, decrypted := range []bool{false, true} {
		for _, asJSON := range []bool{false, true} {
			var out strings.Builder
			s := &session{program: &program{stdout: &out}}
			whole := newWholeTask(f, v, time.Now(), true, decrypted)
			show := s.printTask
			if asJSON {
				show = func(w wholeTask) error { return s.printJSON(w) }
			}
			if err := show(whole); err != nil {
				t.Fatal(err)
			}
			if shown := strings.Contains(out.String(), "tell-nobody"); shown != decrypted {
				t.Errorf("--decrypt=%v: shown is %v:\n%s", decrypted, shown, out.String())
			}
		}
	}
}
