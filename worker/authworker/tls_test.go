package authworker_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/worker/authworker"
)

func TestATLSFailureStopsTheMailsRaisesAnAlarmAndBlamesNoRecipient(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		certificate bool // a certificate that nobody trusts; else STARTTLS is stripped on the way
		says        string
	}{
		"a certificate that nobody trusts": {true, "certificate signed by unknown authority"},
		"STARTTLS stripped on the way":     {false, "the server offers no STARTTLS, and nothing is sent in clear"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mended, talked atomic.Bool
			good, trusted := authority(t)
			bad, _ := authority(t)
			server, err := catcher.StartWith("127.0.0.1:0", catcher.Options{
				TLS: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
					if fault.certificate && !mended.Load() {
						return &bad, nil
					}
					return &good, nil
				}},
				User: "app", Password: "s3cret",
				Hook: func(_ context.Context, s catcher.Step) error {
					if s.Stage != catcher.StageHello && !mended.Load() {
						talked.Store(true)
					}
					return nil
				},
			})
			check(t, err)
			t.Cleanup(func() { check(t, server.Close()) })
			url := strings.Replace(server.URL(), server.Addr(), stripper(t, server.Addr(), func() bool { return !fault.certificate && !mended.Load() }), 1)
			sender, err := mail.NewSender(mail.Config{URL: url, From: "no-reply@app.example", TLSConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}})
			check(t, err)
			t.Cleanup(sender.Close)
			var log lines
			s := newSystem(t, nil, nil, func(c *authworker.Config) { c.Sender, c.Logger = sender, slog.New(slog.NewTextHandler(&log, nil)) })
			readings, err := metrics.NewReadings(metrics.Sources{Breakers: []metrics.Breaker{s.breaker}})
			check(t, err)
			t.Cleanup(func() { check(t, readings.Close()) })

			const people, atOnce = 12, 4
			want := []string{ada}
			s.register(t, ada)
			for n := range people - 1 {
				want = append(want, fmt.Sprintf("user%02d@example.org", n))
				s.register(t, want[n+1])
			}
			inspector := asynq.NewInspectorFromRedisClient(s.redis)
			eventually(t, "all mails wait", func() bool {
				tasks, err := inspector.ListRetryTasks(jobs.QueueMail, asynq.PageSize(people))
				for _, task := range tasks {
					if task.Retried != 0 {
						t.Fatalf("waiting for the server used up %d tries", task.Retried)
					}
				}
				return err == nil && len(tasks) == people
			})
			found := s.outcomes.all()["configuration"]
			if found < 3 || found > 3+atOnce || len(s.outcomes.all()) != 1 {
				t.Errorf("%d mails found that out: %v", found, s.outcomes.all())
			}
			if err := s.breaker.Open(); err == nil || !strings.Contains(err.Error(), fault.says) ||
				!strings.Contains(err.Error(), "check the tls parameter of the SMTP URL and the server's certificate") {
				t.Errorf("/readyz says %v", err)
			}
			if !strings.Contains(log.String(), `level=ERROR msg="the mail server cannot be used, mails wait"`) || !strings.Contains(log.String(), fault.says) {
				t.Errorf("the log says %s", &log)
			}
			requireOpen(t, readings, 1)
			for _, m := range s.mailsOf(t) {
				if m.Row.Failures != 0 {
					t.Errorf("the mail has %d failures", m.Row.Failures)
				}
			}
			if talked.Load() {
				t.Error("something was said to a server that nobody trusts, or in clear")
			}

			mended.Store(true)
			s.ahead.Store(int64(24 * time.Hour))
			eventually(t, "every mail is sent", func() bool {
				_, err := inspector.RunAllRetryTasks(jobs.QueueMail)
				check(t, err)
				return len(server.Messages()) >= people
			})
			s.settled(t)
			var got []string
			for _, m := range server.Messages() {
				got = append(got, m.To...)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("recipients (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[authjobs.MailOutcome]int32{"configuration": found, "delivered": people}, s.outcomes.all()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			requireOpen(t, readings, 0)
			list, err := s.db.Suppressions(t.Context(), 10)
			check(t, err)
			if len(list) > 0 {
				t.Errorf("recipients are blamed: %v", list)
			}
		})
	}
}

// requireOpen looks at what Prometheus is told.
func requireOpen(t *testing.T, r *metrics.Readings, open int) {
	t.Helper()
	want := fmt.Sprintf(`
# HELP sealq_breaker_open Whether jobs are kept away from the outside system, because it is down: 1, else 0.
# TYPE sealq_breaker_open gauge
sealq_breaker_open{system="smtp"} %d
`, open)
	check(t, testutil.CollectAndCompare(r, strings.NewReader(want), "sealq_breaker_open"))
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// stripper stands before a server and, while strips says so, makes STARTTLS a word that no client knows, as middleboxes do.
func stripper(t *testing.T, addr string, strips func() bool) string {
	t.Helper()
	return proxied(t, addr, func(piece []byte) []byte {
		if strips() {
			return bytes.ReplaceAll(piece, []byte("STARTTLS"), []byte("XXXXXXXA"))
		}
		return piece
	})
}

// authority makes a certificate for 127.0.0.1 and the pool that trusts it.
func authority(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	certificate, err := x509.ParseCertificate(der)
	check(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
