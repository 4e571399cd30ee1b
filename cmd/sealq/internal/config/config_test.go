package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/config"
	"github.com/sealq/sealq/jobs/quarantine"
)

// given is what the layers say.
type given struct {
	flags []string
	env   []string
	file  string // content of the YAML file, "" for none
}

func load(t *testing.T, g given) (*config.Settings, error) {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(fs)
	fs.Int("limit", 0, "a flag that is no option")
	args := g.flags
	if g.file != "" {
		args = append(args, "--config", write(t, g.file))
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return config.Load(fs, g.env)
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheStrongestLayerWins(t *testing.T) {
	t.Parallel()
	secret := write(t, "redis://in-file\n")
	for sentence, test := range map[string]struct {
		given  given
		option string
		want   string
		source config.Source
	}{
		"a default where nothing is given":              {given{}, "redis_url", "redis://127.0.0.1:6379/0", config.FromDefault},
		"nothing where there is no default":             {given{}, "audience", "", config.FromDefault},
		"the file over the default":                     {given{file: "concurrency: 8"}, "concurrency", "8", config.FromFile},
		"the environment over the file":                 {given{file: "audience: f", env: []string{"SEALQ_AUDIENCE=e"}}, "audience", "e", config.FromEnvironment},
		"a flag over the environment":                   {given{env: []string{"SEALQ_AUDIENCE=e"}, flags: []string{"--audience=f"}}, "audience", "f", config.FromFlag},
		"a flag that repeats the default":               {given{env: []string{"SEALQ_CONCURRENCY=3"}, flags: []string{"--concurrency=100"}}, "concurrency", "100", config.FromFlag},
		"the file where the variable is empty":          {given{file: "audience: f", env: []string{"SEALQ_AUDIENCE="}}, "audience", "f", config.FromFile},
		"the default where the file has null":           {given{file: "overdue:"}, "overdue", "2m", config.FromDefault},
		"a secret's file over a weaker value":           {given{env: []string{"SEALQ_REDIS_URL=redis://e"}, flags: []string{"--redis-url-file=" + secret}}, "redis_url", "redis://in-file", config.FromFlag},
		"a value over a weaker secret's file":           {given{env: []string{"SEALQ_REDIS_URL_FILE=nowhere"}, flags: []string{"--redis-url=redis://f"}}, "redis_url", "redis://f", config.FromFlag},
		"the name of a secret's file, beside its value": {given{file: "redis_url_file: " + secret}, "redis_url_file", secret, config.FromFile},
		"another flag is no option":                     {given{flags: []string{"--limit=3"}}, "concurrency", "100", config.FromDefault},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			settings, err := load(t, test.given)
			if err != nil {
				t.Fatal(err)
			}
			all, err := settings.Show()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				if o.Name != test.option {
					continue
				}
				if o.Value != test.want || o.Source != test.source {
					t.Errorf("got %q from %s, want %q from %s", o.Value, o.Source, test.want, test.source)
				}
				return
			}
			t.Fatalf("%s is not shown", test.option)
		})
	}
}

func TestOneLineEndIsTakenOffASecretsFile(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{"a\n": "a", "a\r\n": "a", "a\n\n": "a\n", "a": "a", " a ": " a "} {
		settings, err := load(t, given{flags: []string{"--smtp-url-file", write(t, content)}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := settings.Text("smtp-url")
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", content, got, err, want)
		}
	}
}

func TestValuesAreCheckedWhenTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	settings, err := load(t, given{flags: []string{
		"--overdue=soon", "--concurrency=0", "--queues=a=0", "--listen=x", "--base-url=x", "--log-level=x", "--log-format=x", "--reset-lockouts-cron=x",
		"--quarantine-budget=64MB,1", "--confirm-path=confirm", "--reset-path=/reset?next=x", "--email-path=//evil.example/x", "--lockout-notice=maybe",
		"--trusted-proxies=proxy.example",
	}})
	if err != nil {
		t.Fatalf("names and shape are right: %v", err)
	}
	for flag, err := range map[string]error{
		"--overdue":             second(settings.Duration("overdue")),
		"--concurrency":         second(settings.Count("concurrency", 10)),
		"--queues":              second(settings.Weights("queues")),
		"--listen":              second(settings.Address("listen")),
		"--base-url":            second(settings.Page("base-url")),
		"--log-level":           second(settings.LogLevel()),
		"--log-format":          second(settings.LogJSON()),
		"--confirm-path":        second(settings.Path("confirm-path")),
		"--reset-path":          second(settings.Path("reset-path")),
		"--email-path":          second(settings.Path("email-path")),
		"--lockout-notice":      second(settings.Yes("lockout-notice")),
		"--trusted-proxies":     second(settings.Networks("trusted-proxies")),
		"--reset-lockouts-cron": second(settings.Cron("reset-lockouts-cron")),
		"--quarantine-budget":   third(settings.Budget("quarantine-budget")),
		"--audience":            second(settings.Required("audience", "give one")),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("%s: got %v", flag, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func third[T any](_, _ T, err error) error { return err }

func TestABudgetIsBytesAndANumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]int64{
		"64MiB,100000": {64 << 20, 100_000}, "1,1": {1, 1}, "8 KiB, 2": {8 << 10, 2}, "3GiB,7": {3 << 30, 7},
		"": {}, "64MiB": {}, ",": {}, "0,1": {}, "1,0": {}, "-1,1": {}, "1,-1": {}, "1.5GiB,1": {}, "64,MiB": {}, "1,2,3": {}, "MiB,1": {},
		"9223372036854775807GiB,1": {}, "1KiBMiB,1": {},
	} {
		settings, err := load(t, given{env: []string{"SEALQ_QUARANTINE_RESERVE=" + text}})
		if err != nil {
			t.Fatal(err)
		}
		if text == "" {
			want = [2]int64{16 << 20, 10_000} // an empty variable is none
		}
		bytes, entries, err := settings.Budget("quarantine-reserve")
		if (err == nil) != (want != [2]int64{}) || bytes != want[0] || entries != want[1] {
			t.Errorf("%q: want %v, got %d, %d, %v", text, want, bytes, entries, err)
		}
	}
}

func TestNetworksAreThoseOfSomebody(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.0.0.0/8": "[10.0.0.0/8]", "10.1.2.3/8, fd00::/8": "[10.0.0.0/8 fd00::/8]", "192.0.2.1": "[192.0.2.1/32]", "2001:db8::1,10.0.0.0/8": "[2001:db8::1/128 10.0.0.0/8]",
		"0.0.0.0/0": "", "::/0": "", "10.0.0.0/8,": "", "10.0.0.0/33": "", "proxy": "", "fe80::1%eth0": "", "::ffff:10.0.0.0/104": "", "10.0.0.0/8;fd00::/8": "", "10.0.0.1:80": "",
	} {
		for way, g := range map[string]given{
			"flag": {flags: []string{"--trusted-proxies=" + text}}, "environment": {env: []string{"SEALQ_TRUSTED_PROXIES=" + text}}, "file": {file: "trusted_proxies: '" + text + "'"},
		} {
			settings, err := load(t, g)
			if err != nil {
				t.Fatal(err)
			}
			got, err := settings.Networks("trusted-proxies")
			if (err == nil) != (want != "") || err == nil && fmt.Sprint(got) != want {
				t.Errorf("%q by the %s: want %s, got %v, %v", text, way, want, got, err)
			}
		}
	}
	settings, err := load(t, given{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := settings.Networks("trusted-proxies"); got != nil || err != nil {
		t.Errorf("without any: got %v, %v", got, err)
	}
}

func TestTheDefaultsAreThoseOfTheParts(t *testing.T) {
	t.Parallel()
	settings, err := load(t, given{})
	if err != nil {
		t.Fatal(err)
	}
	queues, err := settings.Weights("queues")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]quarantine.Budget{
		"quarantine-budget": quarantine.DefaultBudgets().Unverified, "quarantine-reserve": quarantine.DefaultBudgets().Authentic,
	} {
		if bytes, entries, err := settings.Budget(name); err != nil || bytes != want.Bytes || entries != want.Entries {
			t.Errorf("%s: got %d, %d, %v, want %v", name, bytes, entries, err, want)
		}
	}
	if diff := cmp.Diff(app.DefaultQueues(), queues); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
	for name, want := range map[string]time.Duration{
		"overdue": 2 * time.Minute, "shutdown-timeout": 20 * time.Second, "pending-ttl": 24 * time.Hour, "lockout-for": 15 * time.Minute,
	} {
		if got, err := settings.Duration(name); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
}

func TestAnUnknownVariableIsWarnedOf(t *testing.T) {
	t.Parallel()
	settings, err := load(t, given{env: []string{"SEALQ_REDIS_ULR=x", "SEALQ_TEST_REDIS_URL=x", "SEALQ_CONFIG=", "PATH=x", "SEALQ_RING={}", "SEALQ_KEYS=env:SEALQ_RING"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"the environment variable SEALQ_REDIS_ULR is no setting and is ignored: did you mean SEALQ_REDIS_URL?"}
	if diff := cmp.Diff(want, settings.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct{ text, want string }{
		"nothing stays nothing":          {"", ""},
		"no password, no change":         {"redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"},
		"a user stays":                   {"redis://ada@host/0", "redis://ada@host/0"},
		"a password goes":                {"redis://ada:hunter2@host/0", "redis://ada:***@host/0"},
		"an empty user stays":            {"redis://:hunter2@host", "redis://:***@host"},
		"a password in the query goes":   {"postgres://host/app?password=hunter2&sslmode=disable", "postgres://host/app?password=***&sslmode=disable"},
		"several hosts stay":             {"redis-cluster://ada:hunter2@a:1,b:2", "redis-cluster://ada:***@a:1,b:2"},
		"an SQLite path stays":           {"sqlite:/var/lib/sealq@home.db", "sqlite:/var/lib/sealq@home.db"},
		"a password with @ hides all":    {"redis://ada:hun@ter2@host", "***"},
		"a password with / hides all":    {"redis://ada:12/ter2@host", "***"},
		"a password with ? hides all":    {"redis://ada:12?ter2@host", "***"},
		"what is no URL is hidden whole": {"hunter2", "***"},
		"a DSN in words is hidden whole": {"host=db password=hunter2", "***"},
		"a fragment goes":                {"redis://host#hunter2", "redis://host"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			if got := config.Redact(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzRedactShowsNoPassword(f *testing.F) {
	for _, password := range []string{"", "hunter2", "a@b", "a/b", "a?b", "a#b", "%zz", "%40", "a:b", "[", "1/x@y", "\n", "é"} {
		f.Add(password)
	}
	f.Fuzz(func(t *testing.T, password string) {
		got := config.Redact("redis://ada:" + password + "@host:6379/0")
		if got != "***" && got != "redis://ada:***@host:6379/0" {
			t.Errorf("%q is shown as %q", password, got)
		}
		_, plain := config.ParseURL("--redis-url", "no URL")
		if _, err := config.ParseURL("--redis-url", "redis://ada:"+password+"@host:6379/0"); err != nil && err.Error() != plain.Error() {
			t.Errorf("the error depends on the text: %v", err)
		}
	})
}

func TestARateIsANumberInATimeAndNothingIsNoLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		n   int
		per time.Duration
		bad bool
	}{
		"":            {},
		"100/min":     {n: 100, per: time.Minute},
		" 1 / s":      {n: 1, per: time.Second},
		"1000000/h":   {n: 1_000_000, per: time.Hour},
		"5/d":         {n: 5, per: 24 * time.Hour},
		"0/min":       {bad: true},
		"-1/min":      {bad: true},
		"1000001/min": {bad: true},
		"100":         {bad: true},
		"100/minute":  {bad: true},
		"/min":        {bad: true},
	} {
		settings, err := load(t, given{env: []string{"SEALQ_MAIL_RATE_PER_DOMAIN=" + text}})
		if err != nil {
			t.Fatal(err)
		}
		n, per, err := settings.Rate("mail-rate-per-domain")
		if (err != nil) != want.bad || !want.bad && (n != want.n || per != want.per) {
			t.Errorf("%q: %d in %v, %v", text, n, per, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "--mail-rate-per-domain \""+text+"\" is not NUMBER/s") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]time.Duration{"": 0, "48h": 48 * time.Hour, "0s": -1, "-1h": -1, "x": -1} {
		settings, err := load(t, given{env: []string{"SEALQ_RETAIN_AUDIT=" + text}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := settings.DurationOrNone("retain-audit")
		if (err != nil) != (want < 0) || want >= 0 && d != want {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	for text, want := range map[string]int{"": 0, "1": 1, "100": 100, "0": -1, "101": -1, "x": -1} {
		settings, err := load(t, given{env: []string{"SEALQ_MAIL_HOURLY_CAP=" + text}})
		if err != nil {
			t.Fatal(err)
		}
		n, err := settings.CountOrNone("mail-hourly-cap", 100)
		if (err != nil) != (want < 0) || want >= 0 && n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}
