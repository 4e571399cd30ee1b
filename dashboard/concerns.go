package dashboard

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
)

// concern is one thing that needs a person: what it is, whom it hits, one thing to do about it that does no harm, and where to read on.
type concern struct {
	Status  Status
	Title   string
	Since   moment
	Last    moment
	Detail  string
	Radius  string
	Action  []span
	Command string // what to type, "" for nothing
	Runbook string // the name of one of Config.Runbooks
	Page    string // the address of the page that shows it, "" for none
	Needs   string // the role without which that page is refused, "" for none
	Barred  string `json:"-"` // likewise, where the visitor does not have it
}

// seenBy are concerns that lead nobody where he may not go.
func seenBy(role operators.Role, all []concern) []concern {
	seen := slices.Clone(all)
	for i, c := range seen {
		if c.Needs != "" && !role.May(operators.Role(c.Needs)) {
			seen[i].Page, seen[i].Barred = "", c.Needs
		}
	}
	return seen
}

// span is a part of a sentence: words, or what is to be typed.
type span struct {
	Text string
	Code bool
}

// spans takes a sentence apart at its backquotes.
func spans(text string) []span {
	if text == "" {
		return nil
	}
	var all []span
	for i, part := range strings.Split(text, "`") {
		if part != "" {
			all = append(all, span{part, i%2 == 1})
		}
	}
	return all
}

// guide is what a page says of a check beyond what the check found.
type guide struct{ title, radius, command, runbook string }

// pageOf is the page of what a check looked at.
func pageOf(f Finding) string {
	switch {
	case f.Group == "keys":
		return "/keys"
	case f.Group == "database" && f.Check == "quarantine":
		return "/quarantine"
	case f.Group == "database" && f.Check == "audit log":
		return "/audit"
	case f.Group == "database" && f.Check == "schedules" && f.Subject != "" && f.Subject == label(f.Subject) && linked(f.Subject) != "":
		return withQuery("/schedule", url.Values{"name": {f.Subject}})
	case f.Group == "database" && f.Check == "schedules":
		return "/schedules"
	case f.Group == "mail":
		return "/mails"
	case f.Group == "queues":
		return "#queues"
	}
	return ""
}

// pausedHere leads from queues and schedules that are paused to the buttons that end it, and says who may press them.
func pausedHere(c concern, f Finding, queues []queueRow) concern {
	if f.Check == "schedules" && f.Trouble == statePaused {
		c.Action = spans("When the reason is gone an operator resumes it, by the button on its page.")
	}
	if f.Group != "queues" || f.Check != "paused" {
		return c
	}
	const why = "Find out who paused it and why: the audit log has it, if it was done here. "
	c.Action = spans(why + "Then an operator lets it go on, by the button on the page of each.")
	var paused []queueRow
	for _, q := range queues {
		if q.State == statePaused {
			paused = append(paused, q)
		}
	}
	if len(paused) == 1 {
		c.Page, c.Action = withQuery("/queue", url.Values{"name": {paused[0].Target.Queue}}), spans(why+"Then an operator lets it go on, by the button on its page.")
	}
	return c
}

// guides are by group and check of a finding, and by its trouble where a check can find several. One without a row is shown with its own words alone.
func guides() map[string]guide {
	const (
		doctor = "sealq doctor"
		grows  = "What it cleans up grows. Logins and activations look at the times themselves, and stay right."
	)
	return map[string]guide{
		"redis/connection":            {"Redis does not answer", "Nothing is fetched and nothing enqueued. What the outbox holds waits and is not lost; what is enqueued directly fails, and says so.", doctor, "stuck-task"},
		"redis/writes":                {"Redis refuses writes", "Nothing new is enqueued, and what runs cannot be ended. Jobs of the outbox wait.", doctor, "stuck-task"},
		"redis/eviction":              {"Redis may throw tasks away", "Any task, when memory is short. Those of the outbox are restored, the others are lost.", doctor, ""},
		"redis/persistence":           {"Redis forgets at a restart", "Tasks that were enqueued without the outbox.", doctor, ""},
		"redis/clock":                 {"Redis's clock is off", "Delayed tasks and leases: they come early, or late.", doctor, ""},
		"redis/protection":            {"Redis is open to others", "Whoever reaches it can read, delete and delay tasks. What he forges is refused.", "sealq redis-acl", ""},
		"redis/rights too wide":       {"A Redis user may more than it needs", "Nobody yet. Who gets hold of it can do more harm.", "sealq redis-acl", ""},
		"redis/rights enough":         {"A Redis user may less than it needs", "What needs the right fails.", "sealq redis-acl", ""},
		"queues/tasks":                {"Tasks lie where no worker looks, or are damaged", "These tasks alone. A worker puts most of it in order within a minute.", "sealq tasks list QUEUE", "stuck-task"},
		"queues/served":               {"Tasks wait, and nobody serves their queue", "Every job of these queues, until a worker serves them. None is lost.", "sealq worker --queues …", "stuck-task"},
		"queues/paused":               {"A queue is paused", "Every job of the queue waits, and no pause ends by itself.", "", "stuck-task"},
		"database/connection":         {"The database does not answer", "Nobody can register, and no job of the outbox is done. Nothing is lost.", doctor, ""},
		"database/migrations":         {"The tables are not up to date", "Processes of the newer program do not start.", "sealq migrate up", ""},
		"database/clock":              {"The database's clock is off", "Ends of registrations and locks, and the validity of signatures.", doctor, ""},
		"database/outbox waiting":     {"Jobs wait in the outbox", "The mails and sweeps of these jobs are late. None is lost before its end.", "sealq doctor", "stuck-task"},
		"database/outbox ended":       {"Jobs ended without being done", "The people behind these jobs alone: their mail was not sent, or their job not done.", "sealq explain ADDRESS", "stuck-task"},
		"database/quarantine":         {"The quarantine is nearly full", "Evidence: what finds no room is counted and not kept.", "sealq quarantine purge --dry-run", "quarantine"},
		"database/schedules":          {"There are no schedules", grows, "", "stuck-task"},
		"database/schedules/overdue":  {"A schedule was missed", grows, "", "stuck-task"},
		"database/schedules/failing":  {"A schedule's jobs do not succeed", grows, "", "stuck-task"},
		"database/schedules/long":     {"A schedule's job takes long", "Its next job, where there is to be one at a time, and what waits behind it.", "", "stuck-task"},
		"database/schedules/unusable": {"A schedule cannot be read", grows, "", "stuck-task"},
		"database/schedules/paused":   {"A schedule is paused", "None of its jobs is made until somebody resumes it, and no pause ends by itself. " + grows, "", ""},
		"database/audit log":          {"The audit log is not what was written", "What the log says of who did what, from that entry on.", doctor, "leak"},
		"keys/ring":                   {"The key ring cannot be read", "Processes that start now do not start. Those that run go on for minutes.", "sealq keys list", "lost-ring"},
		"keys/active key":             {"The active key is old, or there is none", "Nobody yet. The longer a key signs, the more it could be worth to a thief.", "sealq keys rotate", "rotation"},
		"keys/audience":               {"The audience is not as it should be", "A process with another audience refuses what the others sign.", "sealq config", "rotation"},
		"keys/agreement":              {"Hosts disagree on the key ring", "The hosts that are named will refuse, or defer, what the others sign.", "sealq keys check", "rotation"},
		"mail/mail server":            {"The mail server does not take mails", "Every mail waits and is tried again until its job's end; registrations cannot be confirmed meanwhile.", doctor, "stuck-task"},
	}
}

// ofFinding is what a finding asks of a person.
func ofFinding(f Finding) concern {
	all := guides()
	g, ok := all[f.Group+"/"+f.Check+"/"+f.Trouble]
	if !ok {
		g, ok = all[f.Group+"/"+f.Check]
	}
	if !ok {
		g.title = f.Group + ": " + f.Check
	}
	c := concern{
		Status: f.Status, Title: label(g.title), Detail: clean(f.Message, maxError, false), Radius: g.radius,
		Action: spans(clean(f.Advice, maxError, false)), Command: g.command, Runbook: g.runbook, Page: pageOf(f),
	}
	if c.Page == "/audit" {
		c.Needs = string(operators.RoleOperator)
	}
	if len(c.Action) > 0 {
		c.Command = "" // one thing to do
	}
	if f.Subject != "" {
		c.Title += ": " + label(f.Subject)
	}
	return c
}

// sentences say what a reason means.
func sentences() map[string]string {
	return map[string]string{
		"missing_signature":   "They bear no signature: an app that does not sign yet, or a forger.",
		"malformed":           "Their signature is no signature, or they are too large.",
		"unsupported_version": "Their signature is of a version that this program does not know.",
		"unknown_key":         "They were signed under a key that no host of ours has, or that did not arrive in time.",
		"key_not_valid":       "Their key was revoked, or did not sign at that time.",
		"bad_signature":       "They were altered, copied to another place, or signed for another deployment.",
		"wrong_queue":         "They are genuine, and lay in a queue that is not theirs.",
		"kind_not_allowed":    "They are genuine, and no worker here knows their kind, or their key does not cover it.",
		"must_be_encrypted":   "They are genuine, and travelled in clear though their kind must not.",
		"issued_in_future":    "They are genuine, and a host's clock is ahead.",
		"lifetime_exceeded":   "They are genuine, and were signed for longer than is allowed.",
		"expired":             "They are genuine, and came too late.",
		"bad_payload":         "They are genuine, and their arguments are not those of their kind: two versions of an app disagree.",
	}
}

// refusals are the refused tasks, one concern for each reason, the authentic first: those are jobs that were not done.
func (d *Dashboard) refusals(groups []jobs.RefusedGroup) []concern {
	type key struct {
		reason    string
		authentic bool
	}
	sums := make(map[key]jobs.RefusedGroup)
	queues := make(map[key][]string)
	for _, g := range groups {
		k := key{string(g.Reason), g.Authentic}
		sum, ok := sums[k]
		if !ok {
			sum = jobs.RefusedGroup{First: g.First, Last: g.Last}
		}
		sum.Entries += g.Entries
		if g.First.Before(sum.First) {
			sum.First = g.First
		}
		if g.Last.After(sum.Last) {
			sum.Last = g.Last
		}
		sums[k] = sum
		queues[k] = append(queues[k], label(g.Queue))
	}
	var all []concern
	for k, sum := range sums {
		c := concern{
			Status: Warning, Title: plural(sum.Entries, "task") + " refused: " + label(k.reason), Since: d.at(sum.First),
			Radius: "No genuine job. Whose names they bear goes on: jobs of the outbox are restored by themselves.",
			Action: spans("Find out who writes to this Redis; `sealq quarantine list` tells more. Nothing has to be done to the tasks."), Runbook: "quarantine",
			Page: withQuery("/quarantine", url.Values{"reason": {k.reason}}),
		}
		if sum.Last.After(sum.First) {
			c.Last = d.at(sum.Last)
		}
		if k.reason == "unknown_key" && !k.authentic {
			c.Radius = "Perhaps genuine jobs, where a worker has not the ring of the app that signed them. Those of the outbox are restored by themselves."
			c.Action = spans("See by `sealq keys check` whether a process has another ring: then mend it, and release them. Else find out who writes to this Redis.")
		}
		if k.authentic {
			c.Status = Problem
			c.Radius = fmt.Sprintf("%s that one of our keys signed: not done, and nothing restores them.", plural(sum.Entries, "job"))
			c.Action = spans("Mend the cause that the reason names, then release them.")
			c.Page = withQuery("/quarantine", url.Values{"reason": {k.reason}, "signed": {"yes"}})
		}
		names := queues[k]
		slices.Sort(names)
		names = slices.Compact(names)
		c.Detail = strings.TrimSpace(sentences()[k.reason] + " In " + few(names) + ". None reached a handler: what is refused is refused before.")
		all = append(all, c)
	}
	slices.SortFunc(all, graver)
	return all
}

// few names some of them.
func few(names []string) string {
	const most = 4
	if len(names) > most {
		return fmt.Sprintf("%s and %d more queues", strings.Join(names[:most], ", "), len(names)-most)
	}
	if len(names) == 1 {
		return "the queue " + names[0]
	}
	return "the queues " + strings.Join(names, ", ")
}

// graver sorts problems before warnings, and else by title, so that a page stands still.
func graver(a, b concern) int {
	rank := func(c concern) int { return slices.Index([]Status{Problem, Warning, NotLooked, Fine}, c.Status) }
	if rank(a) != rank(b) {
		return rank(a) - rank(b)
	}
	return strings.Compare(a.Title, b.Title)
}
