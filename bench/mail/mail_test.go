package mail_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/bench/internal/slow"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
)

const (
	perRun  = 320 // mails
	clients = 8   // goroutines, and connections
	trip    = 5 * time.Millisecond
)

// BenchmarkMailTable prints the tables.
func BenchmarkMailTable(b *testing.B) {
	certificate, roots := authority(b)
	plain := newServer(b, catcher.Options{}, nil)
	secured := newServer(b, catcher.Options{
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, User: "ann", Password: "s3cret",
	}, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	table := rounds.Table{
		Title: fmt.Sprintf("mails of 1 KiB, %d at once, %s away", clients, trip),
		N:     perRun,
		CPU:   []rounds.Meter{rounds.OwnCPU()},
		Ways: []rounds.Way{
			{Name: "in the clear, a connection for each", Run: plain.way(1)},
			{Name: "in the clear, connections kept", Run: plain.way(0)},
			{Name: "STARTTLS and AUTH PLAIN, a connection for each", Run: secured.way(1), Against: 2},
			{Name: "STARTTLS and AUTH PLAIN, connections kept", Run: secured.way(0), Against: 2},
		},
	}
	for b.Loop() {
		table.Print(b)
	}
}

type server struct {
	b      *testing.B
	url    string
	trust  *tls.Config
	caught *atomic.Int64
}

func newServer(b *testing.B, o catcher.Options, trust *tls.Config) *server {
	b.Helper()
	s := &server{b: b, trust: trust, caught: new(atomic.Int64)}
	o.Keep = 1
	o.Hook = func(_ context.Context, step catcher.Step) error {
		if step.Stage == catcher.StageData {
			s.caught.Add(1)
		}
		return nil
	}
	c, err := catcher.StartWith("127.0.0.1:0", o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	u, err := url.Parse(c.URL())
	if err != nil {
		b.Fatal(err)
	}
	u.Host = slow.Proxy(b, u.Host, trip)
	s.url = u.String()
	return s
}

// way sends n mails over connections that take so many of them each; 0: as many as is the default.
func (s *server) way(messages int) func(int, *rounds.Timer) error {
	return func(n int, t *rounds.Timer) error {
		sender, err := mail.NewSender(mail.Config{
			URL: s.url, From: "no-reply@example.com", TLSConfig: s.trust, MaxConns: clients, MaxMessages: messages,
		})
		if err != nil {
			return err
		}
		defer sender.Close()
		text := fmt.Sprintf("%01024d\n", 0)
		before := s.caught.Load()
		var next atomic.Int64
		g, ctx := errgroup.WithContext(s.b.Context())
		t.Start()
		for range clients {
			g.Go(func() error {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					_, err := sender.Send(ctx, mail.Message{
						ID: fmt.Sprintf("m%d@example.com", i), To: "ann@example.org", Subject: "Confirm your address", Text: text,
						Date: time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC),
					}, nil)
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		err = g.Wait()
		t.Stop()
		if err != nil {
			return err
		}
		if got := s.caught.Load() - before; got != int64(n) {
			return fmt.Errorf("%d of %d mails arrived", got, n)
		}
		return nil
	}
}

// authority makes a certificate for 127.0.0.1 and the pool that trusts it.
func authority(b *testing.B) (tls.Certificate, *x509.CertPool) {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
