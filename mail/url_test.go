package mail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealq/sealq/mail"
)

func TestParseURLReads(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct {
		text string
		want mail.URL
		show string
	}{
		"STARTTLS on 587 is the default": {
			"smtp://mail.example.com",
			mail.URL{Host: "mail.example.com", Port: 587, TLS: mail.TLSStartTLS},
			"smtp://mail.example.com:587?tls=starttls",
		},
		"implicit TLS means port 465": {
			"smtp://mail.example.com?tls=implicit",
			mail.URL{Host: "mail.example.com", Port: 465, TLS: mail.TLSImplicit},
			"smtp://mail.example.com:465?tls=implicit",
		},
		"none means port 25 and is for loopback": {
			"smtp://localhost?tls=none",
			mail.URL{Host: "localhost", Port: 25, TLS: mail.TLSNone},
			"smtp://localhost:25?tls=none",
		},
		"IPv6 loopback": {
			"smtp://[::1]:2525?tls=none",
			mail.URL{Host: "::1", Port: 2525, TLS: mail.TLSNone},
			"smtp://[::1]:2525?tls=none",
		},
		"credentials are read and not shown": {
			"smtp://ann%40example.com:p%40ss%2Fw%3Frd@mail.example.com:2587?tls=starttls",
			mail.URL{Host: "mail.example.com", Port: 2587, TLS: mail.TLSStartTLS},
			"smtp://REDACTED@mail.example.com:2587?tls=starttls",
		},
		"every parameter": {
			"smtp://10.0.0.7?tls=none&insecure=yes&helo=app.example.com&timeout=90s",
			mail.URL{Host: "10.0.0.7", Port: 25, TLS: mail.TLSNone, Insecure: true, Helo: "app.example.com", Timeout: 90 * time.Second},
			"smtp://10.0.0.7:25?tls=none&insecure=yes&helo=app.example.com&timeout=1m30s",
		},
		"how to log in, and over how many connections": {
			"smtp://ann:s3cret@mail.example.com?connections=3&auth=scram-sha-256-plus",
			mail.URL{Host: "mail.example.com", Port: 587, TLS: mail.TLSStartTLS, Auth: mail.AuthSCRAM256Plus, Connections: 3},
			"smtp://REDACTED@mail.example.com:587?tls=starttls&auth=scram-sha-256-plus&connections=3",
		},
		"an address literal to greet with": {
			"smtp://mail.example.com?helo=[192.0.2.1]",
			mail.URL{Host: "mail.example.com", Port: 587, TLS: mail.TLSStartTLS, Helo: "[192.0.2.1]"},
			"smtp://mail.example.com:587?tls=starttls&helo=%5B192.0.2.1%5D",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			got, err := mail.ParseURL(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(mail.URL{})); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.show, got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseURLRefuses(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct{ text, part string }{
		"nothing":                                       {"", "scheme"},
		"another scheme":                                {"smtps://ann:s3cret@mail.example.com", "scheme"},
		"no scheme":                                     {"ann:s3cret@mail.example.com:587", "scheme"},
		"no host":                                       {"smtp://ann:s3cret@", "host"},
		"a host with a blank":                           {"smtp://ann:s3cret@mail%20x", "url"},
		"a host beyond ASCII":                           {"smtp://ann:s3cret@bücher.example", "host"},
		"an IPv6 zone":                                  {"smtp://ann:s3cret@[fe80::1%25eth0]", "host"},
		"no double slash":                               {"smtp:ann:s3cret@mail.example.com", "url"},
		"a port that is no number":                      {"smtp://ann:s3cret@mail.example.com:smtp", "url"},
		"port 0":                                        {"smtp://ann:s3cret@mail.example.com:0", "port"},
		"a port over 65535":                             {"smtp://ann:s3cret@mail.example.com:65536", "port"},
		"a path":                                        {"smtp://ann:s3cret@mail.example.com/inbox", "url"},
		"a slash in the password":                       {"smtp://ann:12/s3cret@mail.example.com", "url"},
		"a question mark in the password":               {"smtp://ann:12?s3cret@mail.example.com", "url"},
		"a question mark and a parameter in it":         {"smtp://ann:12?s3cret=x@mail.example.com", "url"},
		"a number sign in the password":                 {"smtp://ann:12#s3cret@mail.example.com", "url"},
		"a number sign at the end":                      {"smtp://ann:s3cret@mail.example.com#", "url"},
		"a bad escape in the password":                  {"smtp://ann:s3cret%zz@mail.example.com", "url"},
		"a user without a password":                     {"smtp://s3cret@mail.example.com", "password"},
		"a user with an empty password":                 {"smtp://s3cret:@mail.example.com", "password"},
		"a password without a user":                     {"smtp://:s3cret@mail.example.com", "user"},
		"an @ with nothing before it":                   {"smtp://@mail.example.com", "user"},
		"a line break in the user":                      {"smtp://ann%0A:s3cret@mail.example.com", "user"},
		"a NUL in the password":                         {"smtp://ann:s3cret%00@mail.example.com", "password"},
		"a password that is not UTF-8":                  {"smtp://ann:s3cret%FF@mail.example.com", "password"},
		"an unknown parameter":                          {"smtp://ann:s3cret@mail.example.com?retries=3", `"retries"`},
		"a parameter in another case":                   {"smtp://ann:s3cret@mail.example.com?TLS=none", `"TLS"`},
		"the first of two unknown ones, by name":        {"smtp://ann:s3cret@mail.example.com?b=1&a=1", `"a"`},
		"a parameter twice":                             {"smtp://ann:s3cret@mail.example.com?tls=none&tls=starttls", "tls"},
		"a parameter with a bad escape":                 {"smtp://ann:s3cret@mail.example.com?tls=%zz", "url"},
		"an unknown mode of TLS":                        {"smtp://ann:s3cret@mail.example.com?tls=opportunistic", "tls"},
		"an empty mode of TLS":                          {"smtp://ann:s3cret@mail.example.com?tls=", "tls"},
		"no TLS towards another machine":                {"smtp://ann:s3cret@mail.example.com?tls=none", "tls"},
		"no TLS towards a name that begins like one":    {"smtp://ann:s3cret@localhost.example.com?tls=none", "tls"},
		"insecure with TLS":                             {"smtp://ann:s3cret@mail.example.com?insecure=yes", "insecure"},
		"insecure with a value that is not yes":         {"smtp://ann:s3cret@mail.example.com?tls=none&insecure=true", "insecure"},
		"a name to greet with that breaks the line":     {"smtp://ann:s3cret@mail.example.com?helo=a%0D%0AMAIL", "helo"},
		"an empty name to greet with":                   {"smtp://ann:s3cret@mail.example.com?helo=", "helo"},
		"an open address literal to greet with":         {"smtp://ann:s3cret@mail.example.com?helo=[192.0.2.1", "helo"},
		"no connection at all":                          {"smtp://ann:s3cret@mail.example.com?connections=0", "connections"},
		"more connections than anybody allows":          {"smtp://ann:s3cret@mail.example.com?connections=101", "connections"},
		"connections that are no number":                {"smtp://ann:s3cret@mail.example.com?connections=many", "connections"},
		"an unknown way to log in":                      {"smtp://ann:s3cret@mail.example.com?auth=cram-md5", "auth"},
		"a way to log in, in another case":              {"smtp://ann:s3cret@mail.example.com?auth=PLAIN", "auth"},
		"a way to log in, and nobody who does":          {"smtp://mail.example.com?auth=plain", "auth"},
		"a binding to TLS without TLS":                  {"smtp://ann:s3cret@localhost?tls=none&auth=scram-sha-1-plus", "auth"},
		"a timeout without a unit":                      {"smtp://ann:s3cret@mail.example.com?timeout=90", "timeout"},
		"a timeout under a second":                      {"smtp://ann:s3cret@mail.example.com?timeout=10ms", "timeout"},
		"a timeout over an hour":                        {"smtp://ann:s3cret@mail.example.com?timeout=61m", "timeout"},
		"a control character anywhere":                  {"smtp://ann:s3cret@mail.example.com\n", "url"},
		"a semicolon, which splits parameters no more ": {"smtp://ann:s3cret@mail.example.com?tls=none;helo=x", "url"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			got, err := mail.ParseURL(tt.text)
			refusal, ok := errors.AsType[*mail.URLError](err)
			if !ok {
				t.Fatalf("want a *URLError, got %v and %v", got, err)
			}
			if diff := cmp.Diff(tt.part, refusal.Part); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			for _, secret := range []string{"s3cret", "ann:", "ann@", ":12"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows %q: %v", secret, err)
				}
			}
		})
	}
}

func TestCredentialsAreNeverShown(t *testing.T) {
	t.Parallel()
	config := mail.Config{URL: "smtp://ann:s3cret@mail.example.com", From: from}
	u, err := mail.ParseURL(config.URL)
	if err != nil {
		t.Fatal(err)
	}
	sender := newSender(t, config)
	encoded, err := json.Marshal(map[string]any{"url": u})
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", slog.Any("url", u), slog.Any("config", config))
	shown := string(encoded) + logged.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		shown += fmt.Sprintf(verb+verb+verb+verb, u, &u, config, sender)
	}
	for _, secret := range []string{"s3cret", "ann"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q is shown: %s", secret, shown)
		}
	}
	if !strings.Contains(shown, "REDACTED@mail.example.com") {
		t.Errorf("the URL itself is not shown: %s", shown)
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{
		"smtp://mail.example.com", "smtp://ann:s3cret@mail.example.com:587?tls=starttls&helo=x&timeout=90s",
		"smtp://[::1]:25?tls=none", "smtp://10.0.0.1?tls=none&insecure=yes", "smtp://u:p@h?tls=implicit&tls=none", "smtp://a:%@b",
		"smtp://h?helo=[IPv6:::1]", "smtp://u:p@h?auth=scram-sha-1&connections=7", "smtp://:@?#",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := mail.ParseURL(text)
		if err != nil {
			if _, ok := errors.AsType[*mail.URLError](err); !ok {
				t.Fatalf("not a *URLError: %v", err)
			}
			return
		}
		// What is shown is a URL that means the same server, but for the credentials.
		again, err := mail.ParseURL(strings.Replace(u.String(), "REDACTED@", "u:p@", 1))
		if err != nil {
			t.Fatalf("%s: %v", u, err)
		}
		if diff := cmp.Diff(u, again, cmpopts.IgnoreUnexported(mail.URL{})); diff != "" {
			t.Fatal(diff)
		}
		if strings.ContainsAny(u.Host+u.Helo, "\r\n\x00 ") {
			t.Fatalf("host or helo could break a line: %q %q", u.Host, u.Helo)
		}
	})
}
