package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
)

// find leads to the task of an ID, in whichever queue it lies: of a task, or of an outbox row. It is asked for by POST, because what people
// paste there may be an address: nothing that was typed stands in a URL, and so in no log of a proxy, before it is known to be a task's ID. Links
// of ours to outbox rows ask by GET, which takes nothing but a row's ID.
func (d *Dashboard) find(v *visit) error {
	ctx, cancel := v.patient()
	defer cancel()
	typed := v.r.PostFormValue("id")
	if v.r.Method != http.MethodPost {
		typed = v.r.URL.Query().Get("id")
		if row, err := uuid.Parse(typed); err != nil || row.String() != typed {
			return refuse(http.StatusNotFound, "No such task", "No outbox row has that ID. For a task's own use the box above.")
		}
	}
	id := strings.TrimSpace(typed)
	if id == "" || len(typed) > rawtask.MaxID {
		return refuse(http.StatusNotFound, "No such task", "No task has that ID.")
	}
	ids := slices.Compact([]string{id, typed})
	if row, err := d.cfg.Records.RowInfo(ctx, id); err == nil {
		ids = append(ids, row.TaskID())
	} else if !errors.Is(err, jobs.ErrNoSuchRow) {
		return err
	}
	names, err := d.queueNames(ctx)
	if err != nil {
		return err
	}
	for _, queue := range names {
		for _, id := range ids {
			_, err := d.tasks.Look(ctx, queue, id)
			if err == nil {
				http.Redirect(v, v.r, "/task?"+url.Values{"queue": {queue}, "id": {id}}.Encode(), http.StatusSeeOther)
				return nil
			}
			if !errors.Is(err, rawtask.ErrNoTask) {
				return err
			}
		}
	}
	return refuse(http.StatusNotFound, "No such task", "No queue has it: it was done, refused or lost. The quarantine knows what was refused, and Accounts what happened to an address, or by an ID.")
}
