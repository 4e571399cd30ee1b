package main

import (
	"fmt"
	"strings"

	"github.com/sealq/sealq/cmd/sealq/internal/seed"
)

// devWelcome is what dev prints when it is up.
type devWelcome struct {
	App, Inbox, Health string // URLs
	Dir                string
	Stays              bool       // Dir outlives the process
	Env                []string   // NAME=VALUE
	Seeded             *seed.Told // nil: nothing is there yet
}

// welcome says where everything is, and what to try.
func (s *session) welcome(w devWelcome) error {
	if s.json {
		env := make(map[string]string)
		for _, variable := range w.Env {
			name, value, _ := strings.Cut(variable, "=")
			env[name] = value
		}
		shown := map[string]any{
			"app": w.App, "inbox": w.Inbox, "dashboard": w.Health, "healthz": w.Health + "/healthz", "readyz": w.Health + "/readyz", "metrics": w.Health + "/metrics",
			"dir": w.Dir, "dir_stays": w.Stays, "env": env,
		}
		if t := w.Seeded; t != nil {
			shown["seeded"] = map[string]any{
				"operators": map[string]string{"viewer": t.Viewer, "operator": t.Operator, "admin": t.Admin}, "operators_password": t.Password,
				"address": t.Address, "user_password": t.UserPassword,
			}
		}
		return s.printJSON(shown)
	}
	data := w.Dir + ", removed at the end (--dir FOLDER keeps one)"
	if w.Stays {
		data = w.Dir + ", which stays"
	}
	var exports strings.Builder
	for _, variable := range w.Env {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&exports, "  export %s=%s\n", name, quoted(value))
	}
	whoMay, address := "nobody may come in before sealq operators add", "ada@example.org"
	if t := w.Seeded; t != nil {
		whoMay, address = fmt.Sprintf(seededText, t.Viewer, t.Operator, t.Password, t.Admin, t.Address), t.Address
	}
	fmt.Fprintf(s.stdout, welcomeText, w.App, w.Inbox, w.Health, whoMay, w.Health, data, exports.String(), address)
	return nil
}

// quoted is one word for a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

const seededText = `these may come in:
               viewer    %s
               operator  %s    password of all three: %s
               admin     %s, who enrols a second factor at the first login: have an authenticator app at hand
               Ask the page Accounts for %s; mails to closed.example are refused, those to full.example put off`

const welcomeText = `sealq dev: SQLite, miniredis and a mail catcher inside this process; all else is the production code.

  demo app     %s/signup
  mail inbox   %s/
  dashboard    %s/, where %s
  health       %s/readyz and /healthz; /metrics takes a key: sealq operators key NAME --name prometheus
  data         %s

In another terminal:

%s
  echo 'correct horse battery staple' | sealq accounts register --email ada@example.org
  echo 'correct horse battery staple' | sealq operators add ann --role operator
  sealq explain %s
                                    what became of it, from registration to activation
  sealq tasks list mail             what is in the queue, with each task's verdict
  sealq quarantine list             what was refused
  sealq doctor                      what is wrong with the system, and what to do

The Redis is a miniredis. Other commands reach it as any other, but it has no users (redis-acl), does not know what doctor asks of version,
eviction, persistence and rights, and forgets when this ends. What is to be done is in the database. Ctrl-C ends it.
`
