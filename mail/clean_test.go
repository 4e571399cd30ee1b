package mail_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/sealq/sealq/mail"
)

// A server may say in the middle of a login whatever it likes. go-mail puts that into its error.
func TestAPasswordThatAServerRepeatsInTheLoginIsNotShown(t *testing.T) {
	t.Parallel()
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for sentence, said := range map[string]string{
		"as it is":                "unknown password tops3cret of ann",
		"as it was sent":          "unknown password " + encoded("tops3cret"),
		"with a terminal's codes": "tops3cret \x1b[2J\nlevel=INFO msg=forged",
		"beyond UTF-8":            "\xff\x00tops3cret",
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			s := startScripted(t, map[string]string{
				"EHLO": "250-scripted\n250 AUTH LOGIN", "AUTH": "334 " + encoded("Username:"),
				strings.ToUpper(encoded("ann")): "334 " + encoded("Password:"), strings.ToUpper(encoded("tops3cret")): "334 " + encoded(said),
			})
			url := strings.Replace(s.url("tls=none&auth=login"), "//", "//ann:tops3cret@", 1)
			err := newSender(t, mail.Config{URL: url}).Ping(bounded(t))
			if got := failureOf(t, err); got.Stage != mail.StageAuth || got.Outcome != mail.OutcomeConfiguration {
				t.Errorf("%v: %v", got, err)
			}
			var chain string
			for e := err; e != nil; e = errors.Unwrap(e) {
				chain += fmt.Sprintf("%v %+v\n", e, e)
			}
			for _, secret := range []string{"tops3cret", encoded("tops3cret")} {
				if strings.Contains(chain, secret) {
					t.Errorf("%s is shown: %q", secret, chain)
				}
			}
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("control characters are shown: %q", err)
			}
		})
	}
}

func TestAnErrorOfTheNetStaysWhatItIsThoughAUsersNameIsInItsWords(t *testing.T) {
	t.Parallel()
	s := startScripted(t, map[string]string{"EHLO": "250-scripted\n250 AUTH PLAIN", "AUTH": cut})
	err := newSender(t, mail.Config{URL: strings.Replace(s.url("tls=none"), "//", "//connection:closed@", 1)}).Ping(bounded(t))
	if got := failureOf(t, err); got.Stage != mail.StageAuth || !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("%v: %v", got, err)
	}
}

// The names of a certificate are its maker's choice, and are looked at before who vouches for it.
func TestTheNamesOfACertificateDoNotReachTheTerminalRaw(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"evil\x1b[2J\r\nlevel=INFO"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	g := &gate{offers: []string{"PLAIN"}}
	err = newSender(t, mail.Config{URL: strings.Replace("smtp://ann:s3cret@"+g.start(t, config), "127.0.0.1", "localhost", 1)}).Ping(bounded(t))
	if got := failureOf(t, err); got.Stage != mail.StageTLS || strings.ContainsFunc(err.Error(), unicode.IsControl) {
		t.Errorf("%v: %q", got, err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("the cause is lost: %v", err)
	}
}
