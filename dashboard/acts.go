package dashboard

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/sealq/sealq/jobs/rawtask"
)

// deeds are what can be done to tasks, and how it is told.
func deeds() map[string]string {
	return map[string]string{"run": "will run now", "archive": "archived", "delete": "deleted", "cancel": "asked to stop"}
}

// said tells what has just been done, by numbers in the address that mean nothing else.
func said(query url.Values) string {
	switch query.Get("did") {
	case "pause":
		return "Paused."
	case "resume":
		return "It goes on."
	}
	deed, ok := deeds()[query.Get("did")]
	if !ok {
		return ""
	}
	n, failed := number(query.Get("n")), number(query.Get("failed"))
	text := plural(n, "task") + " " + deed + "."
	if failed > 0 {
		text += " " + plural(failed, "task") + " not: gone, or in a state that does not allow it."
	}
	return text
}

// Form is a name as a form carries it: escaped as in an address, because HTML drops NUL, and takes one line end for another.
func (t target) Form() target { return target{url.QueryEscape(t.Queue), url.QueryEscape(t.ID)} }

// named is the name that a form of ours carries.
func named(text string) string {
	name, err := url.QueryUnescape(text)
	if err != nil {
		return text // it is not one of ours
	}
	return name
}

// mostSubject is less than the audit log keeps of a subject, in bytes.
const mostSubject = 500

// subjectOf is what the audit log calls a task. No two tasks have the same: names are escaped, so that a / in one is not the end of it, and what is unprintable
// stays apart; one that is too long is cut, and has a hash for its end behind a sign that no escaped name has.
func subjectOf(queue, id string) string {
	subject := "task/" + url.PathEscape(queue) + "/" + url.PathEscape(id)
	if len(subject) <= mostSubject {
		return subject
	}
	end := fmt.Sprintf("…sha256:%x", sha256.Sum256([]byte(subject)))
	return subject[:mostSubject-len(end)] + end
}

// mostChosen is how many tasks one request may name.
const mostChosen = 100

// actOnTasks does one thing to one task or many of one queue. It is entered before it is done: what cannot be entered is not done.
func (d *Dashboard) actOnTasks(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return refuse(http.StatusBadRequest, "Too much, or not readable", "At most %d tasks can be chosen at once.", mostChosen)
	}
	form := v.r.PostForm
	queue, ids, do := named(form.Get("queue")), slices.Clone(form["id"]), form.Get("do")
	for i := range ids {
		ids[i] = named(ids[i])
	}
	act, ok := map[string]func(queue, id string) error{
		"run": d.cfg.Inspector.RunTask, "archive": d.cfg.Inspector.ArchiveTask, "delete": d.cfg.Inspector.DeleteTask,
		"cancel": func(_, id string) error { return d.cfg.Inspector.CancelProcessing(id) },
	}[do]
	switch {
	case !ok:
		return refuse(http.StatusBadRequest, "No such thing", "Tasks can be run, archived, deleted and cancelled.")
	case len(ids) == 0:
		return refuse(http.StatusBadRequest, "Nothing was chosen", "Choose one task or more.")
	case len(ids) > mostChosen:
		return refuse(http.StatusBadRequest, "Too many", "At most %d tasks can be chosen at once.", mostChosen)
	}
	switch _, err := d.tasks.Counts(v.r.Context(), queue); {
	case errors.Is(err, rawtask.ErrQueueName):
		return refuse(http.StatusNotFound, "No such queue", "No queue has that name.")
	case err != nil:
		return err
	}
	back := url.Values{}
	target := "/queue"
	if form.Get("one") != "" {
		target, back["queue"], back["id"] = "/task", []string{queue}, ids[:1]
	} else {
		back.Set("name", queue)
		back.Set("state", form.Get("state"))
	}
	if ask := d.askTasks(do, queue, ids); ask.Ask != "" {
		ask.Back = target + "?" + back.Encode()
		if sure, err := v.sure(ask); !sure {
			return err
		}
	}
	if target == "/task" && do == "delete" { // which is gone then
		target, back = "/queue", url.Values{"name": {queue}}
	}
	done, failed := 0, 0
	for _, id := range ids {
		if err := v.record(v.r.Context(), "task."+do, subjectOf(queue, id), nil); err != nil {
			return err
		}
		if err := act(queue, id); err != nil {
			d.cfg.Logger.WarnContext(v.r.Context(), "an operator's wish was not done", attrs(v.r, err)...)
			failed++
			continue
		}
		done++
	}
	back.Set("n", strconv.Itoa(done))
	back.Set("failed", strconv.Itoa(failed))
	return v.back(target, back, do)
}

// askTasks asks before what cannot be undone on the same page: what is deleted is gone, many are not brought back one by one, and who stops a
// task does not know how far it was. The zero value: nothing is to be asked.
func (d *Dashboard) askTasks(do, queue string, ids []string) confirmView {
	n := plural(int64(len(ids)), "task") + " of queue " + label(queue)
	if len(ids) == 1 {
		n = "the task " + label(ids[0]) + " of queue " + label(queue)
	}
	switch {
	case do == "delete":
		return confirmView{
			Ask: "Delete " + n + "?", Button: "Delete", Danger: true,
			Radius: []string{
				"What is deleted is gone from Redis: nobody can look into it, run it, or bring it back.",
				"Jobs of the outbox are not lost: what is not done is enqueued anew, as its next attempt. A job that was enqueued without the outbox is lost.",
			},
		}
	case do == "archive" && len(ids) > 1:
		return confirmView{
			Ask: "Archive " + n + "?", Button: "Archive", Danger: true,
			Radius: []string{
				"They are not tried any more until somebody runs them from the archive, which asynq cuts to the newest 10 000, and to 90 days.",
				"A job of the outbox that stands in the archive unfinished counts as lost, and is enqueued anew.",
			},
		}
	case do == "cancel" && len(ids) > 1:
		return confirmView{
			Ask: "Stop " + n + "?", Button: "Stop them", Danger: true,
			Radius: []string{
				"Their workers are asked to end them: a handler that heeds it fails, and the task is tried again by its kind's rules, unless that was its last try.",
				"What a handler has done outside of the database by then stays done.",
			},
		}
	}
	return confirmView{}
}

// actOnQueue pauses a queue, or lets it go on.
func (d *Dashboard) actOnQueue(v *visit) error {
	queue, do := named(v.r.PostFormValue("queue")), v.r.PostFormValue("do")
	act, ok := map[string]func(string) error{"pause": d.cfg.Inspector.PauseQueue, "resume": d.cfg.Inspector.UnpauseQueue}[do]
	if !ok {
		return refuse(http.StatusBadRequest, "No such thing", "A queue can be paused, and go on.")
	}
	names, err := d.queueNames(v.r.Context())
	if err != nil {
		return err
	}
	if !slices.Contains(names, queue) {
		return refuse(http.StatusNotFound, "No such queue", "No queue has that name.")
	}
	if do == "pause" {
		ask, err := d.askPause(v.r.Context(), queue)
		if err != nil {
			return err
		}
		if sure, err := v.sure(ask); !sure {
			return err
		}
	}
	if err := v.record(v.r.Context(), "queue."+do, "queue/"+queue, nil); err != nil {
		return err
	}
	if err := act(queue); err != nil {
		d.cfg.Logger.WarnContext(v.r.Context(), "an operator's wish was not done", attrs(v.r, err)...)
		return refuse(http.StatusConflict, "Not done", "It is so already, or Redis does not allow it to this process's user.")
	}
	return v.back("/queue", url.Values{"name": {queue}}, do)
}

// askPause tells what stands still with a queue.
func (d *Dashboard) askPause(ctx context.Context, queue string) (confirmView, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	readings, err := d.readQueues(ctx, []string{queue})
	if err != nil {
		return confirmView{}, err
	}
	r := readings[0]
	ask := confirmView{
		Ask: "Pause the queue " + label(queue) + "?", Button: "Pause it", Danger: true, Back: "/queue?" + url.Values{"name": {queue}}.Encode(),
		Radius: []string{
			"No worker of the whole deployment fetches from it until somebody lets it go on; it does not go on by itself.",
			fmt.Sprintf("%s tasks wait in it and %s are due later: whoever waits for them waits as long. Those that run, %s, end as ever.", count(r.pending), count(sum(r.sched, r.retry)), count(r.active)),
			"Jobs expire meanwhile: a link to confirm or to a new password that is mailed too late is not mailed at all.",
		},
	}
	servers, err := d.tasks.Servers(ctx, d.cfg.Now())
	if err != nil && !rawtask.Denied(err) {
		return confirmView{}, err
	}
	if err == nil {
		n := 0
		for _, s := range servers {
			if _, serves := s.Queues[queue]; serves {
				n++
			}
		}
		ask.Radius = append(ask.Radius, fmt.Sprintf("Workers that serve it now, by their own account: %d.", n))
	}
	return ask, nil
}
