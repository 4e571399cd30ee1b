package mail_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	netmail "net/mail"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
)

// published is a private key in PEM, and its public half as it stands in DNS.
type published struct {
	pem    []byte
	record string
}

func publish(t *testing.T, key crypto.Signer, kind string) published {
	t.Helper()
	var block pem.Block
	var err error
	var public []byte
	switch key := key.(type) {
	case *rsa.PrivateKey:
		block.Type, block.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)
		public, err = x509.MarshalPKIXPublicKey(key.Public())
	case ed25519.PrivateKey:
		public, _ = key.Public().(ed25519.PublicKey)
		block.Type = "PRIVATE KEY"
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	default:
		block.Type = "PRIVATE KEY"
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return published{pem.EncodeToMemory(&block), "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(public)}
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func edKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// verify asks another library whether the message is signed by example.com, and returns the signed headers.
func (p published) verify(data []byte) (*dkim.Verification, error) {
	all, err := dkim.VerifyWithOptions(bytes.NewReader(data), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if name != "mail1._domainkey.example.com" {
			return nil, fmt.Errorf("asked for %s", name)
		}
		return []string{p.record}, nil
	}})
	switch {
	case err != nil:
		return nil, err
	case len(all) != 1:
		return nil, fmt.Errorf("%d signatures", len(all))
	}
	return all[0], all[0].Err
}

func TestAnotherLibraryVerifiesWhatArrives(t *testing.T) {
	t.Parallel()
	keys := map[string]published{"RSA": publish(t, rsaKey(t, 2048), "rsa"), "Ed25519": publish(t, edKey(t), "ed25519")}
	change := func(f func(*mail.Message)) mail.Message {
		m := message()
		f(&m)
		return m
	}
	for sentence, tt := range map[string]struct {
		from string
		m    mail.Message
	}{
		"plain":      {from, message()},
		"text alone": {from, change(func(m *mail.Message) { m.HTML = "" })},
		"beyond ASCII": {"Bücher & Söhne „grün“ <no-reply@example.com>", change(func(m *mail.Message) {
			m.Subject, m.Text = "Bestätigen Sie Ihre Adresse – 確認してください", "Grüße\n確認\n"
		})},
		"a long subject":   {`"A name that is long enough to be folded, with a comma, and more" <no-reply@example.com>`, change(func(m *mail.Message) { m.Subject = strings.Repeat("many words ", 40) + "end" })},
		"a long word":      {from, change(func(m *mail.Message) { m.Subject = strings.Repeat("ä", 240) })},
		"leading dots":     {from, change(func(m *mail.Message) { m.Text = ".\n..\n. dot\n.\n" })},
		"long lines":       {from, change(func(m *mail.Message) { m.Text = strings.Repeat("x", 5000) + "\n" + strings.Repeat("y z ", 3000) })},
		"bare CR, bare LF": {from, change(func(m *mail.Message) { m.Text, m.HTML = "a\rb\r\nc\nd\r\r\n", "<p>\r</p>\n\r<p>" })},
		"blanks at ends":   {from, change(func(m *mail.Message) { m.Text, m.HTML = "a  \n\t\n \n\n\n\n", "<p> \t\n\n\n" })},
		"no line end":      {from, change(func(m *mail.Message) { m.Text, m.HTML = "a", "b" })},
	} {
		for kind, key := range keys {
			t.Run(sentence+", "+kind, func(t *testing.T) {
				t.Parallel()
				c := startCatcher(t, catcher.Options{})
				config := mail.Config{URL: c.URL(), From: tt.from, DKIM: mail.DKIM{Domain: "example.com", Selector: "mail1", Key: key.pem}}
				for range 2 {
					if _, err := newSender(t, config).Send(bounded(t), tt.m, nil); err != nil {
						t.Fatal(err)
					}
				}
				got := c.Messages()
				if diff := cmp.Diff(string(got[0].Data), string(got[1].Data)); diff != "" {
					t.Errorf("a second attempt has other bytes:\n%s", diff)
				}
				verified, err := key.verify(got[0].Data)
				if err != nil {
					t.Fatalf("%v\n%s", err, got[0].Data)
				}
				if !verified.Time.Equal(tt.m.Date) {
					t.Errorf("signed at %v, want the message's %v", verified.Time, tt.m.Date)
				}
				checkLines(t, got[0].Data)
				checkHeaders(t, got[0].Data, tt.from, tt.m)
			})
		}
	}
}

func TestASignatureHoldsWhatItIsToHold(t *testing.T) {
	t.Parallel()
	key := publish(t, edKey(t), "ed25519")
	sender := newSender(t, mail.Config{URL: "smtp://127.0.0.1?tls=none", DKIM: mail.DKIM{Domain: "example.com", Selector: "mail1", Key: key.pem}})
	data, err := sender.Render(message())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.verify(data); err != nil {
		t.Fatal(err)
	}
	for what, changed := range map[string]string{
		"the recipient":    strings.Replace(string(data), "ann@example.org", "bob@example.org", 1),
		"the subject":      strings.Replace(string(data), "Confirm your", "Forget your", 1),
		"a link":           strings.Replace(string(data), "https://example.com/confirm", "https://example.net/confirm", 1),
		"the mark of ours": strings.Replace(string(data), "auto-generated", "no", 1),
		"a second From":    "From: <eve@example.net>\r\n" + string(data),
		"a second Subject": "Subject: other\r\n" + string(data),
	} {
		if changed == string(data) {
			t.Fatalf("%s was not changed", what)
		}
		if _, err := key.verify([]byte(changed)); err == nil {
			t.Errorf("%s can be changed", what)
		}
	}
}

func TestHeadersOfOnesOwnAreSigned(t *testing.T) {
	t.Parallel()
	key := publish(t, edKey(t), "ed25519")
	sender := newSender(t, mail.Config{URL: "smtp://127.0.0.1?tls=none", DKIM: mail.DKIM{Domain: "example.com", Selector: "mail1", Key: key.pem, Headers: []string{"from", "subject"}}})
	data, err := sender.Render(message())
	if err != nil {
		t.Fatal(err)
	}
	verified, err := key.verify(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"from", "subject", "From", "To", "Subject", "Date", "Message-ID"}, verified.HeaderKeys); diff != "" {
		t.Error(diff)
	}
}

func TestDKIMThatCannotBeUsedIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	good := publish(t, edKey(t), "ed25519").pem
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for sentence, tt := range map[string]struct {
		dkim  mail.DKIM
		field string
	}{
		"no domain":             {mail.DKIM{Selector: "mail1", Key: good}, "Domain"},
		"a domain with a blank": {mail.DKIM{Domain: "example com", Selector: "mail1", Key: good}, "Domain"},
		"a tag in the domain":   {mail.DKIM{Domain: "example.com;l=0", Selector: "mail1", Key: good}, "Domain"},
		"no selector":           {mail.DKIM{Domain: "example.com", Key: good}, "Selector"},
		"a selector of dots":    {mail.DKIM{Domain: "example.com", Selector: "a..b", Key: good}, "Selector"},
		"no key":                {mail.DKIM{Domain: "example.com", Selector: "mail1"}, "Key"},
		"a key that is no PEM":  {mail.DKIM{Domain: "example.com", Selector: "mail1", Key: []byte("s3cret")}, "Key"},
		"a public key":          {mail.DKIM{Domain: "example.com", Selector: "mail1", Key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("s3cret")})}, "Key"},
		"a key of another kind": {mail.DKIM{Domain: "example.com", Selector: "mail1", Key: publish(t, curve, "").pem}, "Key"},
		"a short key":           {mail.DKIM{Domain: "example.com", Selector: "mail1", Key: publish(t, rsaKey(t, 1024), "rsa").pem}, "Key"},
		"headers without From":  {mail.DKIM{Domain: "example.com", Selector: "mail1", Key: good, Headers: []string{"Subject"}}, "Headers"},
		"a header with a colon": {mail.DKIM{Domain: "example.com", Selector: "mail1", Key: good, Headers: []string{"From", "Subject:"}}, "Headers"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			_, err := mail.NewSender(mail.Config{URL: "smtp://127.0.0.1?tls=none", From: from, DKIM: tt.dkim})
			refused, ok := errors.AsType[*mail.DKIMError](err)
			if !ok {
				t.Fatalf("want a *DKIMError, got %v", err)
			}
			if refused.Field != tt.field || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("want %s, got %v", tt.field, err)
			}
		})
	}
}

func TestTheKeyOfDKIMIsNeverShown(t *testing.T) {
	t.Parallel()
	key := edKey(t)
	config := mail.Config{URL: "smtp://127.0.0.1?tls=none", From: from, DKIM: mail.DKIM{Domain: "example.com", Selector: "mail1", Key: publish(t, key, "ed25519").pem}}
	encoded, err := json.Marshal(config.DKIM)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", slog.Any("dkim", config.DKIM), slog.Any("config", config))
	shown := string(encoded) + logged.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		shown += fmt.Sprintf(verb+verb+verb, config, config.DKIM, newSender(t, config))
	}
	block, _ := pem.Decode(config.DKIM.Key)
	for _, secret := range []string{"PRIVATE", fmt.Sprintf("%d", key.Seed()[:4])[1:12], base64.StdEncoding.EncodeToString(block.Bytes)[30:40]} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q is shown: %s", secret, shown)
		}
	}
	if !strings.Contains(shown, "DKIM mail1._domainkey.example.com") {
		t.Errorf("what is public is not shown: %s", shown)
	}
}

// checkLines holds a message to RFC 5322, section 2.1.1, and its headers to the length that is preferred there.
func checkLines(t *testing.T, data []byte) {
	t.Helper()
	if bytes.Contains(bytes.ReplaceAll(data, []byte("\r\n"), nil), []byte("\n")) || bytes.Contains(bytes.ReplaceAll(data, []byte("\r\n"), nil), []byte("\r")) {
		t.Error("there is a bare CR or LF")
	}
	header := true
	for line := range strings.SplitSeq(string(data), "\r\n") {
		if line == "" {
			header = false
		}
		if len(line) > 998 || header && len(line) > 78 || !header && len(line) > 76 {
			t.Errorf("a line of %d: %q", len(line), line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r >= 0x80 }) {
			t.Errorf("a line beyond ASCII: %q", line)
		}
	}
}

// checkHeaders reads the message back.
func checkHeaders(t *testing.T, data []byte, from string, m mail.Message) {
	t.Helper()
	got, err := netmail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(m.Subject, subject); diff != "" {
		t.Error(diff)
	}
	want, err := netmail.ParseAddress(from)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := netmail.ParseAddress(got.Header.Get("From"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, sender); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"To": "<" + m.To + ">", "Message-Id": "<" + m.ID + ">", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0", "Date": "Sun, 29 Mar 2026 01:30:00 +0000",
	} {
		if diff := cmp.Diff([]string{want}, got.Header[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	media, _, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if want := map[bool]string{true: "text/plain", false: "multipart/alternative"}[m.HTML == ""]; err != nil || media != want {
		t.Errorf("the body is %q, want %q: %v", media, want, err)
	}
}
