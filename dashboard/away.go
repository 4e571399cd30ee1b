package dashboard

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
)

// awayPatience is how long each server may take to answer once a page could not be made. With longest it is less than the server gives an answer.
const awayPatience = 750 * time.Millisecond

// awayView tells why a page cannot be made.
type awayView struct {
	Concerns []concern
	Changes  bool // something was to be changed
}

// tellAway answers with what is away, if that is why a page could not be made, and says whether it did. An error alone does not say whose it is, so both
// servers are asked.
func (d *Dashboard) tellAway(v *visit) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), awayPatience) // its own time is over, mostly
	defer cancel()
	var redisErr, databaseErr error
	var asked sync.WaitGroup
	asked.Go(func() { redisErr = d.cfg.Redis.Ping(ctx).Err() })
	asked.Go(func() {
		if _, err := d.cfg.Records.RowInfo(ctx, uuid.Nil.String()); !errors.Is(err, jobs.ErrNoSuchRow) {
			databaseErr = err
		}
	})
	asked.Wait()
	view := awayView{Changes: v.r.Method != http.MethodGet && v.r.Method != http.MethodHead}
	if redisErr != nil && !denied(redisErr) {
		view.Concerns = append(view.Concerns, noAnswer("redis"))
	}
	if databaseErr != nil {
		view.Concerns = append(view.Concerns, noAnswer("database"))
	}
	if len(view.Concerns) == 0 {
		return false
	}
	for i := range view.Concerns {
		if !v.who.complete { // runbooks are for who is in
			view.Concerns[i].Runbook = ""
		}
	}
	return v.page(http.StatusServiceUnavailable, "away", "Not to be had now", view) == nil
}

// noAnswer is a server that does not answer, as a concern.
func noAnswer(group string) concern {
	return ofFinding(Finding{
		Group: group, Check: "connection", Status: Problem, Message: "It did not answer this page.", Advice: "Start it, or look into its log; `sealq doctor` says why it cannot be reached.",
	})
}
