package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Option is one setting. Its name is the flag's, without dashes; environment and file derive theirs from it.
type Option struct {
	Name    string
	Usage   string
	Default string
	Secret  bool // shown redacted, and accepted as a file that holds it: --NAME-file
}

// Flag is how the command line spells it.
func (o Option) Flag() string { return "--" + o.Name }

// Key is how the file spells it.
func (o Option) Key() string { return strings.ReplaceAll(o.Name, "-", "_") }

// Env is how the environment spells it.
func (o Option) Env() string { return envPrefix + strings.ToUpper(o.Key()) }

// inFile is the option that names a file with this one's value.
func (o Option) inFile() Option {
	return Option{Name: o.Name + "-file", Usage: "file that holds the value of --" + o.Name}
}

const (
	envPrefix     = "SEALQ_"
	envTestPrefix = "SEALQ_TEST_" // of the project's own tests
	// FileFlag names the file of settings. It is no option: it cannot stand in the file itself.
	FileFlag = "config"
)

// Options are all options of the binary, in the order in which they are shown.
func Options() []Option {
	return []Option{
		{Name: "redis-url", Secret: true, Default: "redis://127.0.0.1:6379/0", Usage: "the queue: redis:// rediss:// redis-socket:// redis-sentinel:// redis-cluster://"},
		{Name: "database-url", Secret: true, Usage: "the database: postgres://… or sqlite:PATH"},
		{Name: "keys", Default: "file:keys.json", Usage: "the key ring: file:PATH, database, or env:NAME (development)"},
		{Name: "kek-file", Usage: "file with the key-encryption key of --keys database"},
		{Name: "audience", Usage: "this deployment's name, such as prod-eu: what is signed for one verifies in no other"},
		{Name: "smtp-url", Secret: true, Usage: "the mail server: smtp://user:password@host:587?tls=starttls|implicit|none"},
		{Name: "mail-from", Usage: "the sender of mails, such as no-reply@example.com"},
		{Name: "mail-dkim-domain", Usage: "sign mails by DKIM for this domain, such as example.com (default: they are not signed)"},
		{Name: "mail-dkim-selector", Usage: "the key's name in the domain's DNS: SELECTOR._domainkey.DOMAIN"},
		{Name: "mail-dkim-key", Secret: true, Usage: "the private key in PEM, RSA or Ed25519"},
		{Name: "mail-rate-per-domain", Usage: "the most mails to one domain of recipients, such as 100/min (default: no limit)"},
		{Name: "mail-hourly-cap", Usage: "the most mails in any hour, of all workers together (default: no limit)"},
		{Name: "mail-daily-cap", Usage: "the most mails in any 24 hours, of all workers together (default: no limit)"},
		{Name: "base-url", Default: "http://localhost:8080", Usage: "where the links in mails lead"},
		{Name: "confirm-path", Default: "/confirm", Usage: "the app's page under --base-url that takes the key of a registration"},
		{Name: "reset-path", Default: "/reset", Usage: "its page that takes the key of a request for a new password"},
		{Name: "email-path", Default: "/email", Usage: "its page that takes the key of a new address"},
		{Name: "product", Usage: "the name of the app in mails (default: the host of --base-url)"},
		{Name: "mail-templates", Usage: "folder of an app's own mail templates: see `sealq mail preview` (default: sealq's own)"},
		{Name: "mail-lang", Default: "en", Usage: "the language of mails to whom there are none in his own, such as de"},
		{Name: "listen", Default: "127.0.0.1:8080", Usage: "address of the dashboard, /healthz, /readyz and /metrics"},
		{Name: "read-only", Default: "no", Usage: "whether the dashboard refuses every change: yes or no"},
		{Name: "session-idle", Default: "1h", Usage: "how long an operator's session may be idle, from 1m to 24h"},
		{Name: "session-life", Default: "12h", Usage: "how long one lasts, whatever is done, up to 168h"},
		{Name: "trusted-proxies", Usage: "networks of the proxies before the dashboard, such as 10.0.0.0/8,fd00::/8: their X-Forwarded-For tells who asks (default: none)"},
		{Name: "queues", Default: "critical=6,mail=3,default=2,maintenance=1", Usage: "queues to serve and their weights"},
		{Name: "concurrency", Default: "100", Usage: "how many tasks run at once, of mails no more than --smtp-url has connections"},
		{Name: "fetchers", Default: "1", Usage: "how many fetch loops share the concurrency; more help above some hundred tasks at once"},
		{Name: "overdue", Default: "2m", Usage: "how long an enqueued job may be overdue before it is looked for in Redis, and restored"},
		{Name: "quarantine-budget", Default: "64MiB,100000", Usage: "bytes and number of forged tasks that are kept; what is over that is counted"},
		{Name: "quarantine-reserve", Default: "16MiB,10000", Usage: "the same for refused tasks that were signed; what its signer caused waits in the queue when it is over that, the rest is counted"},
		{Name: "shutdown-timeout", Default: "20s", Usage: "how long running tasks may take to finish at the end"},
		{Name: "pending-ttl", Default: "24h", Usage: "how long a registration can be confirmed"},
		{Name: "reset-ttl", Default: "1h", Usage: "how long the link to a new password works"},
		{Name: "lockout-limit", Default: "5", Usage: "failed logins in a row that lock an account"},
		{Name: "lockout-for", Default: "15m", Usage: "how long a lock lasts"},
		{Name: "lockout-notice", Default: "no", Usage: "whether the owner of an account that was locked is told by mail, once the lock is over: yes or no"},
		{Name: "expire-pending-cron", Default: "*/5 * * * *", Usage: "when registrations that nobody confirmed are deleted (UTC)"},
		{Name: "reset-lockouts-cron", Default: "* * * * *", Usage: "when locks that are over are cleared (UTC)"},
		{Name: "purge-cron", Default: "17 3 * * *", Usage: "when what has ended is deleted, if it was kept for long enough (UTC)"},
		{Name: "retain-done", Default: "2160h", Usage: "how long jobs that have ended are kept, with their mails, the tries of them, and ticks"},
		{Name: "retain-quarantine", Default: "2160h", Usage: "how long refused tasks are kept"},
		{Name: "retain-audit", Usage: "how long entries of the audit log are kept (default: for ever)"},
		{Name: "rotate-every", Default: "720h", Usage: "how long a key signs before the next one does, with --keys database"},
		{Name: "publish-ahead", Default: "24h", Usage: "how long before that the next key is published"},
		{Name: "log-level", Default: "info", Usage: "debug, info, warn or error"},
		{Name: "log-format", Default: "text", Usage: "text or json"},
	}
}

// expanded are the options together with the files that may hold secrets.
func expanded() []Option {
	var all []Option
	for _, o := range Options() {
		all = append(all, o)
		if o.Secret {
			all = append(all, o.inFile())
		}
	}
	return all
}

// lookup finds an option by its name. Asking for one that is not in the table is a mistake in this program.
func lookup(name string) Option {
	for _, o := range Options() {
		if o.Name == name {
			return o
		}
	}
	panic("config: no option " + name)
}

// AddFlags adds a flag for every option, and --config.
func AddFlags(fs *pflag.FlagSet) {
	fs.String(FileFlag, "", "YAML file of settings, such as redis_url: … (or "+envPrefix+"CONFIG)")
	for _, o := range expanded() {
		fs.String(o.Name, o.Default, o.Usage)
	}
}

// Flags are the flags of the named options, for showing them.
func Flags(names ...string) *pflag.FlagSet {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SortFlags = false
	for _, name := range names {
		o := lookup(name)
		usage := o.Usage
		if o.Secret {
			usage += "; or --" + o.inFile().Name
		}
		fs.String(o.Name, o.Default, usage)
	}
	return fs
}

// Place is where the option stands in the table.
func Place(name string) int {
	return slices.IndexFunc(Options(), func(o Option) bool { return o.Name == name })
}
