package attack

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/sealq/sealq/signing"
)

// formCases need no keys: whatever the signature says, its form or the task's size ends them first.
func formCases() []Case {
	cases := []Case{
		{Name: "it has no signature", after: func(g *forgery) { delete(g.task.Headers, signing.SignatureHeader) }},
		{Name: "it has no header at all", after: func(g *forgery) { g.task.Headers = nil }},
		{Name: "its signature is empty", text: func(string) string { return "" }},
		{Name: "its signature's header is written large", after: func(g *forgery) { g.renameSignature("Sealq-Sig") }},
		{Name: "its signature's header has a space at its end", after: func(g *forgery) { g.renameSignature(signing.SignatureHeader + " ") }},
		{Name: "its signature's header has a NUL at its end", after: func(g *forgery) { g.renameSignature(signing.SignatureHeader + "\x00") }},
		{Name: "its signature stands in its payload", after: func(g *forgery) {
			g.task.Payload = []byte(strconv.Quote(g.task.Headers[signing.SignatureHeader]))
			delete(g.task.Headers, signing.SignatureHeader)
		}},
	}
	for i := range cases {
		cases[i].Want = signing.ReasonMissingSignature
	}
	for _, c := range []Case{
		{Name: "its signature lacks its first character", text: func(s string) string { return s[1:] }},
		{Name: "its signature lacks its last character", text: func(s string) string { return s[:len(s)-1] }},
		{Name: "its signature is a character longer", text: func(s string) string { return s + "A" }},
		{Name: "its signature ends with a newline", text: func(s string) string { return s + "\n" }},
		{Name: "its signature has a newline for a character", text: func(s string) string { return s[:50] + "\n" + s[51:] }},
		{Name: "its signature has carriage returns for its end", text: func(s string) string { return s[:100] + "\r\r\r\r" }},
		{Name: "its signature has four newlines more and four characters less", text: func(s string) string { return "\n\n\n\n" + s[4:] }},
		{Name: "its signature is padded", text: func(s string) string { return s[:len(s)-1] + "=" }},
		{Name: "its signature is padded beyond its length", text: func(s string) string { return s + "==" }},
		{Name: "its signature is in the other base64", text: func(s string) string { return "+/" + s[2:] }},
		{Name: "its signature begins with a space", text: func(s string) string { return " " + s[1:] }},
		{Name: "its signature holds a NUL", text: func(s string) string { return s[:60] + "\x00" + s[61:] }},
		{Name: "its signature holds a letter that is not ASCII", text: func(s string) string { return "é" + s[2:] }},
		{Name: "its signature is in hexadecimal", text: func(s string) string {
			raw, _ := base64.RawURLEncoding.DecodeString(s) // the forge encoded it
			return hex.EncodeToString(raw)
		}},
		{Name: "its signature stands there twice", text: func(s string) string { return s + s }},
		{Name: "its signature stands there twice, with a comma", text: func(s string) string { return s + "," + s }},
		{Name: "its signature is a JSON Web Token that asks for no algorithm", text: func(string) string {
			return "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJraW5kIjoibWFpbCJ9."
		}},
		{Name: "its signature is half a megabyte long", text: func(string) string { return strings.Repeat("A", 512<<10) }},
		{Name: "its payload is a byte over the limit", before: func(g *forgery) { g.task.Payload = make([]byte, signing.DefaultMaxPayload+1) }},
		{Name: "it has a header too many", before: func(g *forgery) {
			for i := len(g.task.Headers); i <= signing.DefaultMaxHeaders; i++ {
				g.task.Headers["x-"+strconv.Itoa(i)] = ""
			}
		}},
		{Name: "a header's name is a byte over the limit", before: func(g *forgery) {
			g.task.Headers[strings.Repeat("x", signing.DefaultMaxHeaderName+1)] = ""
		}},
		{Name: "a header's value is a byte over the limit", before: func(g *forgery) {
			g.task.Headers["x"] = strings.Repeat("x", signing.DefaultMaxHeaderValue+1)
		}},
		{Name: "its headers together are over the limit", before: func(g *forgery) {
			for i := range signing.DefaultMaxHeaderTotal/signing.DefaultMaxHeaderValue + 1 {
				g.task.Headers["x-"+strconv.Itoa(i)] = strings.Repeat("x", signing.DefaultMaxHeaderValue)
			}
		}},
		{Name: "its kind is over the limit", before: func(g *forgery) { g.task.Kind += strings.Repeat("x", signing.DefaultMaxName) }},
		{Name: "its ID is over the limit", before: func(g *forgery) { g.task.ID += strings.Repeat("x", signing.DefaultMaxName) }},
		{Name: "its retries are negative", after: func(g *forgery) { g.task.MaxRetry = -1 }},
		{Name: "it names an effect of no name", before: func(g *forgery) { g.task.Headers[signing.EffectHeader] = "" }},
	} {
		c.Want = signing.ReasonMalformed
		cases = append(cases, c)
	}
	return ofClass(Form, cases)
}

func (g *forgery) renameSignature(name string) {
	g.task.Headers[name] = g.task.Headers[signing.SignatureHeader]
	delete(g.task.Headers, signing.SignatureHeader)
}
