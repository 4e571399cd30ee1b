package mail_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail"
)

// gate is a server where ann logs in with s3cret, in the ways it offers.
type gate struct {
	offers     []string
	iterations int
	lies       string // instead of its proof
	early      string // instead of its first challenge, and then it lets everybody in
	skips      bool   // proves nothing

	mu   sync.Mutex
	used []string // ways that succeeded
}

type gateSession struct {
	hostileSession

	gate *gate
	peer *smtp.Conn
}

func (g *gate) start(t *testing.T, config *tls.Config) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &gateSession{gate: g, peer: c}, nil }))
	server.Domain, server.TLSConfig, server.AllowInsecureAuth, server.ErrorLog = "gate.localhost", config, true, nobody{}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close()
		served.Wait()
	})
	return listener.Addr().String()
}

func (s *gateSession) AuthMechanisms() []string { return s.gate.offers }

func (s *gateSession) Auth(way string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != "ann" || password != "s3cret" {
			return smtp.ErrAuthFailed
		}
		s.gate.mu.Lock()
		defer s.gate.mu.Unlock()
		s.gate.used = append(s.gate.used, way)
		return nil
	}
	switch {
	case way == "PLAIN":
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	case way == "LOGIN":
		return &loginServer{check: check}, nil
	case way == "XOAUTH2":
		return &xoauth2Server{check: check}, nil
	case strings.HasPrefix(way, "SCRAM-SHA-256"):
		return &scramServer{session: s, hash: sha256.New, plus: strings.HasSuffix(way, "-PLUS"), check: check}, nil
	case strings.HasPrefix(way, "SCRAM-SHA-1"):
		return &scramServer{session: s, hash: sha1.New, plus: strings.HasSuffix(way, "-PLUS"), check: check}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

type loginServer struct {
	check func(user, password string) error
	step  int
	user  string
}

func (l *loginServer) Next(answer []byte) ([]byte, bool, error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(answer)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.check(l.user, string(answer))
	}
}

type xoauth2Server struct {
	check  func(user, token string) error
	failed bool
}

// Next tells of a failure in a challenge first, as Google does.
func (x *xoauth2Server) Next(answer []byte) ([]byte, bool, error) {
	if x.failed {
		return nil, true, smtp.ErrAuthFailed
	}
	if string(answer) == "user=ann\x01auth=Bearer s3cret\x01\x01" {
		return nil, true, x.check("ann", "s3cret")
	}
	x.failed = true
	return []byte(`{"status":"401"}`), false, nil
}

// scramServer is the server's side of RFC 5802, written after the RFC.
type scramServer struct {
	session *gateSession
	hash    func() hash.Hash
	plus    bool
	check   func(user, password string) error

	step        int
	gs2         string
	first, last string // client-first-message-bare, server-first-message
	nonce       string
}

func (s *scramServer) mac(key []byte, text string) []byte {
	m := hmac.New(s.hash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func (s *scramServer) Next(answer []byte) ([]byte, bool, error) {
	gate := s.session.gate
	s.step++
	switch {
	case gate.early != "":
		return []byte(gate.early), s.step > 1, nil
	case answer == nil || len(answer) == 0 && s.step == 1:
		s.step = 0
		return []byte{}, false, nil
	case s.step == 1:
		parts := strings.SplitN(string(answer), ",", 3)
		s.gs2, s.first = parts[0]+","+parts[1]+",", parts[2]
		if s.plus != strings.HasPrefix(s.gs2, "p=tls-exporter") {
			return nil, true, errors.New("no such binding")
		}
		_, nonce, _ := strings.Cut(s.first, ",r=")
		s.nonce = nonce + "server"
		s.last = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString([]byte("salt")) + ",i=" + strconv.Itoa(gate.iterations)
		return []byte(s.last), false, nil
	case s.step == 2:
		if gate.skips {
			return nil, true, nil
		}
		salted, err := pbkdf2.Key(s.hash, "s3cret", []byte("salt"), gate.iterations, s.hash().Size())
		if err != nil {
			return nil, true, err
		}
		without, proof, _ := strings.Cut(string(answer), ",p=")
		binding := []byte(s.gs2)
		if s.plus {
			state, _ := s.session.peer.TLSConnectionState()
			exported, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
			if err != nil {
				return nil, true, err
			}
			binding = append(binding, exported...)
		}
		if without != "c="+base64.StdEncoding.EncodeToString(binding)+",r="+s.nonce {
			return nil, true, errors.New("another connection")
		}
		all := s.first + "," + s.last + "," + without
		key := s.mac(salted, "Client Key")
		stored := s.hash()
		stored.Write(key)
		want := s.mac(stored.Sum(nil), all)
		for i := range want {
			want[i] ^= key[i]
		}
		got, err := base64.StdEncoding.DecodeString(proof)
		if err != nil || !bytes.Equal(want, got) {
			return nil, true, smtp.ErrAuthFailed
		}
		if gate.lies != "" {
			return []byte(gate.lies), false, nil
		}
		return []byte("v=" + base64.StdEncoding.EncodeToString(s.mac(s.mac(salted, "Server Key"), all))), false, nil
	default:
		return nil, true, s.check("ann", "s3cret")
	}
}

func TestHowToLogIn(t *testing.T) {
	t.Parallel()
	certificate, pool := authority(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	all := []string{"LOGIN", "PLAIN", "CRAM-MD5", "XOAUTH2", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}
	for sentence, tt := range map[string]struct {
		offers   []string
		clear    bool
		ask      string
		password string // "": the right one
		used     string // "": none
	}{
		"the strongest of all":                      {offers: all, used: "SCRAM-SHA-256-PLUS"},
		"the strongest, asked for":                  {offers: all, ask: "&auth=auto", used: "SCRAM-SHA-256-PLUS"},
		"the strongest without TLS":                 {offers: all, clear: true, used: "SCRAM-SHA-256"},
		"the strongest of few":                      {offers: []string{"LOGIN", "PLAIN", "SCRAM-SHA-1"}, used: "SCRAM-SHA-1"},
		"bound to TLS before not":                   {offers: []string{"SCRAM-SHA-1-PLUS", "SCRAM-SHA-256"}, used: "SCRAM-SHA-1-PLUS"},
		"PLAIN before LOGIN":                        {offers: []string{"LOGIN", "PLAIN"}, used: "PLAIN"},
		"LOGIN at last":                             {offers: []string{"CRAM-MD5", "LOGIN"}, used: "LOGIN"},
		"a token by itself never":                   {offers: []string{"XOAUTH2"}},
		"a token where it is asked for":             {offers: all, ask: "&auth=xoauth2", used: "XOAUTH2"},
		"a token that is not taken":                 {offers: all, ask: "&auth=xoauth2", password: "expired"},
		"PLAIN where it is asked for":               {offers: all, ask: "&auth=plain", used: "PLAIN"},
		"LOGIN where it is asked for":               {offers: all, ask: "&auth=login", used: "LOGIN"},
		"SCRAM-SHA-1 where it is asked for":         {offers: all, ask: "&auth=scram-sha-1", used: "SCRAM-SHA-1"},
		"SCRAM-SHA-1-PLUS where it is asked for":    {offers: all, ask: "&auth=scram-sha-1-plus", used: "SCRAM-SHA-1-PLUS"},
		"SCRAM-SHA-256 where it is asked for":       {offers: all, ask: "&auth=scram-sha-256", used: "SCRAM-SHA-256"},
		"nothing weaker than what is asked for":     {offers: []string{"LOGIN", "PLAIN", "SCRAM-SHA-256"}, ask: "&auth=scram-sha-256-plus"},
		"nothing stronger either":                   {offers: []string{"SCRAM-SHA-256"}, ask: "&auth=plain"},
		"no PLAIN after a SCRAM that was not taken": {offers: all, password: "wr0ng"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			g := &gate{offers: tt.offers, iterations: 4096}
			mode, serving := "starttls", config
			if tt.clear {
				mode, serving = "none", nil
			}
			password := "s3cret"
			if tt.password != "" {
				password = tt.password
			}
			url := fmt.Sprintf("smtp://ann:%s@%s?tls=%s%s", password, g.start(t, serving), mode, tt.ask)
			err := newSender(t, mail.Config{URL: url, TLSConfig: &tls.Config{RootCAs: pool}}).Ping(bounded(t))
			if tt.used == "" {
				if got := failureOf(t, err); got.Stage != mail.StageAuth || got.Outcome != mail.OutcomeConfiguration {
					t.Errorf("%v: %v", got, err)
				}
				if strings.Contains(err.Error(), password) {
					t.Errorf("the password is shown: %v", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.used, strings.Join(g.used, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAServerThatDoesNotKnowThePasswordIsNotBelieved(t *testing.T) {
	t.Parallel()
	// What a server signs that has no password, over a client that has no state.
	nothing := (&scramServer{hash: sha256.New}).mac(nil, "Server Key")
	empty := "v=" + base64.StdEncoding.EncodeToString((&scramServer{hash: sha256.New}).mac(nothing, ""))
	for sentence, g := range map[string]*gate{
		"it proves nothing":                 {skips: true},
		"it proves something else":          {lies: "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32))},
		"it proves before it was asked":     {early: empty},
		"it asks for too few iterations":    {iterations: 4095},
		"it asks for work without end":      {iterations: 1 << 30},
		"it asks for iterations under zero": {iterations: -1},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			g.offers = []string{"SCRAM-SHA-256", "PLAIN"}
			if g.iterations == 0 {
				g.iterations = 4096
			}
			err := newSender(t, mail.Config{URL: "smtp://ann:s3cret@" + g.start(t, nil) + "?tls=none"}).Ping(bounded(t))
			if got := failureOf(t, err); got.Stage != mail.StageAuth || got.Outcome != mail.OutcomeConfiguration {
				t.Errorf("%v: %v", got, err)
			}
		})
	}
}
