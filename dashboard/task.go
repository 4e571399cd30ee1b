package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/judge"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/operators"
)

// taskView is one task.
type taskView struct {
	Target                       target
	ID, Queue, Kind              string
	State                        rawtask.State
	Problems                     []rawtask.Problem
	Verdict, Reason, Detail, KID string
	Good, Authentic              bool
	At                           moment
	AtWhat                       string
	Signed, Expires              moment
	Effect                       string
	Tries, Error                 string
	Failed                       moment
	Size, SHA256                 string
	Arguments                    string // "": they are not shown
	Hidden                       bool   // their values are
	Row                          *rowView
	Runs, Archives, Active       bool // what can be done
	Known                        tryView
	Said                         string
}

// target is a task as it is, for links and forms.
type target struct{ Queue, ID string }

// rowView is where its outbox row stands.
type rowView struct {
	ID                         string
	State                      jobs.RowState
	Attempt, Failures, Retries int
	Cause                      string
	Created, Expires, Ended    moment
}

func (d *Dashboard) task(v *visit) error {
	query := v.r.URL.Query()
	view, err := d.lookAt(v, query.Get("queue"), query.Get("id"), false)
	if err != nil {
		return err
	}
	view.Said = said(query)
	return v.page(http.StatusOK, "task", "Task", view)
}

// reveal shows the arguments of a kind that hides them, once it is entered who asked.
func (d *Dashboard) reveal(v *visit) error {
	queue, id := named(v.r.PostFormValue("queue")), named(v.r.PostFormValue("id"))
	view, err := d.lookAt(v, queue, id, true)
	if err != nil {
		return err
	}
	if err := v.record(v.r.Context(), "task.arguments_revealed", subjectOf(queue, id), map[string]string{"kind": view.Kind}); err != nil {
		return err
	}
	return v.page(http.StatusOK, "task", "Task", view)
}

func (d *Dashboard) lookAt(v *visit, queue, id string, revealed bool) (taskView, error) {
	ctx, cancel := v.patient()
	defer cancel()
	if id == "" || len(id) > rawtask.MaxID {
		return taskView{}, refuse(http.StatusNotFound, "No such task", "No task has that ID.")
	}
	f, err := d.tasks.Look(ctx, queue, id)
	switch {
	case errors.Is(err, rawtask.ErrQueueName):
		return taskView{}, refuse(http.StatusNotFound, "No such queue", "No queue has that name.")
	case errors.Is(err, rawtask.ErrNoTask):
		return taskView{}, refuse(http.StatusNotFound, "No such task", "It was done, refused or lost: the quarantine and the outbox know more (sealq quarantine list, sealq explain ID).")
	case err != nil:
		return taskView{}, err
	}
	verdict, err := d.judge(ctx, f)
	if err != nil {
		return taskView{}, err
	}
	view := d.taskView(f, verdict, revealed)
	view.Target = target{queue, id}
	if view.Row, err = d.rowOf(ctx, f); err != nil {
		return taskView{}, err
	}
	return view, d.tries(ctx, &view, v.who.role.May(operators.RoleOperator))
}

func (d *Dashboard) taskView(f rawtask.Found, verdict judge.Verdict, revealed bool) taskView {
	m := f.Message
	digest := sha256.Sum256(m.Payload)
	view := taskView{
		ID: label(f.ID), Queue: label(f.Queue), Kind: label(m.Kind), State: f.State(), Problems: f.Problems(d.cfg.Now()),
		Verdict: shownVerdict(verdict), Good: good(verdict.Outcome), Reason: string(verdict.Reason), Detail: clean(verdict.Detail, maxError, false),
		KID: label(verdict.KID), Authentic: verdict.Authentic, Signed: d.at(verdict.IssuedAt), Expires: d.at(verdict.Expires), Effect: label(verdict.Effect),
		At: d.at(f.When), AtWhat: atWhat(f.State()), Tries: fmt.Sprintf("%d of %d retries used", m.Retried, m.MaxRetry),
		Error: clean(m.LastError, maxError, true), Failed: d.at(m.LastFailed),
		Size: plural(int64(len(m.Payload)), "byte"), SHA256: hex.EncodeToString(digest[:]),
	}
	if args, ok := verdict.Args(); ok {
		plain := revealed || d.cfg.PlainKind(m.Kind) && !verdict.Encrypted
		view.Arguments, view.Hidden = shownArguments(args, plain), !plain
	}
	state := f.State()
	view.Active = state == rawtask.Active
	view.Runs = slices.Contains([]rawtask.State{rawtask.Scheduled, rawtask.Retry, rawtask.Archived}, state)
	view.Archives = slices.Contains([]rawtask.State{rawtask.Pending, rawtask.Scheduled, rawtask.Retry}, state)
	return view
}

// atWhat says what a task's time in its place is.
func atWhat(s rawtask.State) string {
	switch s {
	case rawtask.Scheduled, rawtask.Retry:
		return "Due"
	case rawtask.Active:
		return "Lease ends"
	default:
		return "Came there"
	}
}

// rowOf is the outbox row that the task's ID names, nil for none. The row's kind must be the task's: an ID alone anybody can write.
func (d *Dashboard) rowOf(ctx context.Context, f rawtask.Found) (*rowView, error) {
	id, _, ok := jobs.SplitTaskID(f.ID)
	if !ok {
		return nil, nil //nolint:nilnil // there is no row, and nothing went wrong
	}
	r, err := d.cfg.Records.RowInfo(ctx, id)
	if errors.Is(err, jobs.ErrNoSuchRow) || err == nil && (r.Queue != f.Queue || f.Err == nil && f.Message.Kind != string(r.Kind)) {
		return nil, nil //nolint:nilnil // likewise
	}
	if err != nil {
		return nil, err
	}
	return &rowView{
		ID: r.ID, State: r.State, Attempt: r.Attempt, Failures: r.Failures, Retries: r.Retries, Cause: clean(r.Cause, maxError, false),
		Created: d.at(r.CreatedAt), Expires: d.at(r.ExpiresAt), Ended: d.at(r.EndedAt),
	}, nil
}

// hidden stands for a value that is not shown.
const hidden = "•••"

// shownArguments are a task's arguments, which verified and decode as their kind's. Without plain the names alone are shown.
func shownArguments(args []byte, plain bool) string {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(args))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return hidden // a kind that decodes otherwise
	}
	if !plain {
		value = hide(value)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // the template escapes
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return hidden
	}
	return clean(text.String(), maxBlock, true)
}

// hide leaves the names of objects and the number of a list's elements.
func hide(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name := range value {
			value[name] = hide(value[name])
		}
		return value
	case []any:
		for i := range value {
			value[i] = hide(value[i])
		}
		return value
	}
	return hidden
}
