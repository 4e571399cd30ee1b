package signing_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/signing"
)

// specification is docs/envelope.md.
func specification(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../docs/envelope.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// example returns the block of the specification that is marked with the name.
func example(t *testing.T, name string) []byte {
	t.Helper()
	_, rest, ok := strings.Cut(specification(t), "<!-- example: "+name+" -->\n```")
	_, rest, begins := strings.Cut(rest, "\n")
	block, _, ends := strings.Cut(rest, "\n```\n")
	if !ok || !begins || !ends {
		t.Fatalf("there is no example %q", name)
	}
	return []byte(block)
}

func TestSpecificationsRing(t *testing.T) {
	t.Parallel()
	r, err := signing.ParseRing(example(t, "ring"))
	if err != nil {
		t.Fatal(err)
	}
	// What is shown must be what is written, but for where lines end.
	var shown, written bytes.Buffer
	if err := json.Compact(&shown, example(t, "ring")); err != nil {
		t.Fatal(err)
	}
	if err := json.Compact(&written, r.Marshal()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(written.String(), shown.String()); diff != "" {
		t.Errorf("ring (-written +shown):\n%s", diff)
	}
}

func TestSpecificationsVector(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/v1/envelope.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Vectors []map[string]any `json:"vectors"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	var shown map[string]any
	if err := json.Unmarshal(example(t, "vector"), &shown); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(doc.Vectors[0], shown); diff != "" {
		t.Errorf("vector (-want +shown):\n%s", diff)
	}
	for _, name := range []string{"boundary left", "boundary right"} {
		if !slices.ContainsFunc(doc.Vectors, func(v map[string]any) bool { return v["name"] == name }) {
			t.Errorf("there is no vector %q", name)
		}
	}
	var joined strings.Builder
	for line := range strings.Lines(string(example(t, "context"))) {
		_, digits, _ := strings.Cut(line, "  ")
		joined.WriteString(strings.Join(strings.Fields(digits), ""))
	}
	if diff := cmp.Diff(shown["want_context_hex"], any(joined.String())); diff != "" {
		t.Errorf("context (-want +shown):\n%s", diff)
	}
	payload, err := hex.DecodeString(shown["want_payload_hex"].(string))
	if err != nil {
		t.Fatal(err)
	}
	size := fmt.Sprintf("length, 00 00 00 %02x, and its %d bytes", len(payload), len(payload))
	if !strings.Contains(specification(t), size) {
		t.Errorf("it does not say %q", size)
	}
}

// TestSpecificationsReasons requires the table of steps to name every reason, in the order in which they are looked for.
func TestSpecificationsReasons(t *testing.T) {
	t.Parallel()
	var reasons []signing.Reason
	for _, m := range regexp.MustCompile("(?m)^\\| \\d+ \\| `([a-z_]+)` \\|").FindAllStringSubmatch(specification(t), -1) {
		reasons = append(reasons, signing.Reason(m[1]))
	}
	want := []signing.Reason{
		signing.ReasonMissingSignature, signing.ReasonMalformed, signing.ReasonUnsupportedVersion, signing.ReasonUnknownKey,
		signing.ReasonKeyNotValid, signing.ReasonBadSignature, signing.ReasonWrongQueue, signing.ReasonKindNotAllowed,
		signing.ReasonMustBeEncrypted, signing.ReasonIssuedInFuture, signing.ReasonLifetimeExceeded, signing.ReasonExpired,
		signing.ReasonNotYetDue, signing.ReasonBadPayload,
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("reasons (-want +shown):\n%s", diff)
	}
}

func TestSpecificationsFacts(t *testing.T) {
	t.Parallel()
	text := specification(t)
	for _, row := range []string{
		fmt.Sprintf("| payload, as it travels | %d bytes |", signing.DefaultMaxPayload),
		fmt.Sprintf("| kind, ID, queue | %d bytes each |", signing.DefaultMaxName),
		fmt.Sprintf("| headers beside the signature | %d |", signing.DefaultMaxHeaders),
		fmt.Sprintf("| a header's name | %d bytes |", signing.DefaultMaxHeaderName),
		fmt.Sprintf("| a header's value | %d bytes |", signing.DefaultMaxHeaderValue),
		fmt.Sprintf("| all names and values together | %d bytes |", signing.DefaultMaxHeaderTotal),
		fmt.Sprintf("*skew* is %.0f\nseconds", signing.DefaultSkew.Seconds()),
		fmt.Sprintf("now < iat + %.0f minutes (the propagation grace)", signing.DefaultPropagationGrace.Minutes()),
		"`" + signing.SignatureHeader + "`, exactly so", "`" + signing.EffectHeader + "` names it",
	} {
		if !strings.Contains(text, row) {
			t.Errorf("it does not say %q", row)
		}
	}
	for _, s := range []signing.State{signing.Published, signing.Active, signing.Retiring, signing.Revoked, signing.Destroyed} {
		if !strings.Contains(text, "\n| `"+string(s)+"` |") {
			t.Errorf("it does not say what the state %s means", s)
		}
	}
	secret, err := signing.ParseSecret(secretA)
	if err != nil || !strings.Contains(text, "| `"+secret.RevealText()+"` | 00 01 02 … 1f, checksum 91267e8a |") {
		t.Errorf("it does not show the text of a secret: %v", err)
	}
}
