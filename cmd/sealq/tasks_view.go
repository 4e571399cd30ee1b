package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

// taskView is a task as it is listed. Names are as shownName writes them.
type taskView struct {
	ID            string            `json:"id"`
	Queue         string            `json:"queue"`
	Kind          string            `json:"kind"`
	State         rawtask.State     `json:"state"`
	Verdict       judge.Outcome     `json:"verdict"`
	Reason        signing.Reason    `json:"reason"`
	KID           string            `json:"kid"`
	Detail        string            `json:"detail"`
	Ledger        judge.Ledger      `json:"ledger"`
	Problems      []rawtask.Problem `json:"problems"`
	At            *time.Time        `json:"at"` // scheduled, retry: when it is due; active: when its lease ends; else when it came there
	Retried       int               `json:"retried"`
	MaxRetry      int               `json:"max_retry"`
	Size          int64             `json:"size"` // of the payload as it lies there
	PayloadSHA256 string            `json:"payload_sha256"`
}

func newTaskView(f rawtask.Found, v judge.Verdict, now time.Time) taskView {
	sum := sha256.Sum256(f.Message.Payload)
	view := taskView{
		ID: shownName(f.ID), Queue: shownName(f.Queue), Kind: shownName(f.Message.Kind), State: f.State(),
		Verdict: v.Outcome, Reason: v.Reason, KID: v.KID, Detail: v.Detail, Ledger: v.Ledger, Problems: f.Problems(now), At: timeOrNone(f.When),
		Retried: f.Message.Retried, MaxRetry: f.Message.MaxRetry, Size: int64(len(f.Message.Payload)),
	}
	if f.Err == nil {
		view.PayloadSHA256 = hex.EncodeToString(sum[:])
	}
	return view
}

// wholeTask is one as it is shown.
type wholeTask struct {
	taskView
	Places      []rawtask.State   `json:"places"`       // every list and set that holds it
	StoredState string            `json:"stored_state"` // what its hash says
	MessageSize int64             `json:"message_size"` // -1: there is none
	MessageID   string            `json:"message_id"`
	MessageFor  string            `json:"message_queue"`
	Headers     map[string]string `json:"headers"`
	Authentic   bool              `json:"authentic"`
	Effect      string            `json:"effect"` // where authentic, like the times
	IssuedAt    *time.Time        `json:"issued_at"`
	NotBefore   *time.Time        `json:"not_before"`
	ExpiresAt   *time.Time        `json:"expires_at"`
	RetryAt     *time.Time        `json:"retry_at"` // where deferred
	Encrypted   bool              `json:"encrypted"`
	Arguments   json.RawMessage   `json:"arguments"` // null unless it verified
	PayloadHex  *string           `json:"payload_hex,omitempty"`
	Row         *rowView          `json:"row"` // the outbox row that the ID names; null: none, or no database
}

// rowView is where an outbox row stands.
type rowView struct {
	ID        string        `json:"id"`
	State     jobs.RowState `json:"state"`
	Attempt   int           `json:"attempt"`
	Failures  int           `json:"failures"`
	Retries   int           `json:"retries"`
	Cause     string        `json:"cause"`
	NotBefore time.Time     `json:"not_before"`
	NextAt    time.Time     `json:"next_at"`
	ExpiresAt time.Time     `json:"expires_at"`
	EndedAt   *time.Time    `json:"ended_at"`
}

func newRowView(r jobs.RowInfo) *rowView {
	return &rowView{
		ID: r.ID, State: r.State, Attempt: r.Attempt, Failures: r.Failures, Retries: r.Retries, Cause: shownText(r.Cause),
		NotBefore: r.NotBefore, NextAt: r.NextAt, ExpiresAt: r.ExpiresAt, EndedAt: timeOrNone(r.EndedAt),
	}
}

func timeOrNone(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// shownHeaders bounds what is shown of headers, in number and bytes.
const shownHeaders, shownHeader = 64, 1024

// newWholeTask shows a task. payload says whether the bytes that did not verify are shown too, in hexadecimal; decrypted, whether
// arguments that travel encrypted are.
func newWholeTask(f rawtask.Found, v judge.Verdict, now time.Time, payload, decrypted bool) wholeTask {
	w := wholeTask{
		taskView: newTaskView(f, v, now), Places: append([]rawtask.State{}, f.Places...), StoredState: shownName(f.Stored), MessageSize: f.Size,
		MessageID: shownName(f.Message.ID), MessageFor: shownName(f.Message.Queue), Headers: make(map[string]string),
		Authentic: v.Authentic, Effect: shownName(v.Effect), IssuedAt: timeOrNone(v.IssuedAt), NotBefore: timeOrNone(v.NotBefore),
		ExpiresAt: timeOrNone(v.Expires), RetryAt: timeOrNone(v.RetryAt), Encrypted: v.Encrypted,
	}
	for i, name := range slices.Sorted(maps.Keys(f.Message.Headers)) {
		if i == shownHeaders {
			break
		}
		value := f.Message.Headers[name]
		w.Headers[shownName(name[:min(len(name), shownHeader)])] = shownName(value[:min(len(value), shownHeader)])
	}
	if args, ok := v.Args(); ok && (decrypted || !v.Encrypted) {
		w.Arguments = plainJSON(args)
	}
	if payload && f.Err == nil {
		text := hex.EncodeToString(f.Message.Payload)
		w.PayloadHex = &text
	}
	return w
}

// shownName is a name that anybody may have chosen, fit for a terminal: as it is where every character is printable, else
// quoted with escapes. nameOf reads both.
func shownName(name string) string {
	plain := utf8.ValidString(name) && !strings.HasPrefix(name, `"`) && !strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) })
	if plain {
		return name
	}
	return strconv.QuoteToASCII(name)
}

// nameOf is the name that shownName has written so.
func nameOf(shown string) string {
	if name, err := strconv.Unquote(shown); err == nil && strings.HasPrefix(shown, `"`) {
		return name
	}
	return shown
}

// shownText is prose without what a terminal would obey.
func shownText(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// plainJSON is JSON in printable ASCII.
func plainJSON(text []byte) json.RawMessage {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x80 && strconv.IsPrint(r), r == '\n':
			b.WriteRune(r)
		case r < 0x80:
			b.WriteByte(' ') // a tab or carriage return, between values
		case r > 0xFFFF:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return json.RawMessage(b.String())
}

// cut bounds a column's width.
func cut(text string, width int) string {
	if text == "" {
		return "-"
	}
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// printTasks writes the list for people. Every column has a bound.
func (s *session) printTasks(views []taskView) error {
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tKIND\tVERDICT\tREASON\tKID\tAT\tSIZE\tPROBLEMS")
	for _, v := range views {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", cut(v.ID, 42), v.State, cut(v.Kind, 32), v.Verdict, orDash(string(v.Reason)),
			orDash(v.KID), moment(v.At), v.Size, orDash(joined(v.Problems, ",")))
	}
	return flush(w)
}

func joined[S ~string](values []S, separator string) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, string(v))
	}
	return strings.Join(texts, separator)
}

// printTask writes one task for people.
func (s *session) printTask(t wholeTask) error {
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, value) }
	line("id", t.ID)
	line("queue", t.Queue)
	line("kind", cut(t.Kind, shownHeader))
	line("state", string(t.State))
	if len(t.Places) > 1 || string(t.State) != t.StoredState {
		line("stands in", orDash(joined(t.Places, ",")))
		line("its hash says", orDash(t.StoredState))
	}
	line("verdict", string(t.Verdict))
	if t.Reason != "" {
		line("reason", string(t.Reason))
	}
	line("detail", t.Detail)
	line("ledger", string(t.Ledger))
	line("kid", orDash(t.KID))
	for _, p := range t.Problems {
		line("problem", string(p)+": "+problemText(p))
	}
	if t.MessageID != t.ID || t.MessageFor != t.Queue {
		line("message says", fmt.Sprintf("task %s of queue %s", cut(t.MessageID, 64), cut(t.MessageFor, 64)))
	}
	line("at", moment(t.At))
	line("again at", moment(t.RetryAt))
	line("issued", moment(t.IssuedAt))
	line("not before", moment(t.NotBefore))
	line("expires", moment(t.ExpiresAt))
	line("retried", fmt.Sprintf("%d of %d", t.Retried, t.MaxRetry))
	line("effect", orDash(t.Effect))
	if r := t.Row; r != nil {
		line("outbox row", fmt.Sprintf("%s, attempt %d, %s of its handler; until %s", r.State, r.Attempt, plural(r.Failures, "failure"), moment(&r.ExpiresAt)))
		line("its cause", orDash(r.Cause))
	}
	line("size", plural(int(t.Size), "byte"))
	line("sha256", orDash(t.PayloadSHA256))
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		line("header", fmt.Sprintf("%+q: %+q", name, t.Headers[name]))
	}
	switch {
	case t.Arguments != nil:
		line("arguments", strings.ReplaceAll(string(t.Arguments), "\n", " "))
	case t.Encrypted && (t.Verdict == judge.Passed || t.Verdict == judge.Done):
		line("arguments", "encrypted: --decrypt shows them")
	default:
		line("arguments", "not decoded")
	}
	if err := flush(w); err != nil {
		return err
	}
	if t.PayloadHex != nil {
		payload, err := hex.DecodeString(*t.PayloadHex)
		if err != nil {
			return fmt.Errorf("dump the payload: %w", err)
		}
		fmt.Fprint(s.stdout, hex.Dump(payload))
	}
	return nil
}

// problemText says what a problem means.
func problemText(p rawtask.Problem) string {
	return map[rawtask.Problem]string{
		rawtask.NoTask:       "a list or set holds the ID, and no message stands under it",
		rawtask.WrongType:    "its key does not hold a hash",
		rawtask.Undecodable:  "asynq cannot decode it; among the active tasks it stops the recovery of others",
		rawtask.TooLarge:     "its message is too large to be looked at",
		rawtask.OtherID:      "the message names another ID, and asynq would end that task",
		rawtask.OtherQueue:   "the message names another queue",
		rawtask.StateDiffers: "its hash names another state than the list or set that it stands in",
		rawtask.TwoPlaces:    "more than one list or set holds it",
		rawtask.InNoList:     "no list or set holds it: no worker fetches it",
		rawtask.NoLease:      "it is active without a lease: if its worker dies nobody recovers it",
		rawtask.PastDeadline: "its deadline has passed: asynq ends it without asking a worker",
		rawtask.OddRetries:   "asynq cannot have counted its tries so: it archives it at its first failure, or never",
		rawtask.Grouped:      "it stands in a group: asynq makes one unsigned task of all of them, which is refused",
		rawtask.LongID:       "its ID is longer than any of ours",
	}[p]
}
