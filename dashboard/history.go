package dashboard

import (
	"context"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs/rawtask"
)

// shownDays is of how many days a queue's history is shown.
const shownDays = 30

// The chart's measures, in its own units.
const (
	chartWidth  = 600
	chartHeight = 120
)

// chartView is what a queue did by day, as a picture and as a table.
type chartView struct {
	Width, Height int
	Most          string // what the highest bar stands for
	Days          []dayView
	Ended, Failed string // of all days
	Any           bool
}

// dayView is one day: a bar of what ended well, and on it one of what failed.
type dayView struct {
	Date                  string
	Ended, Failed         string
	X, Width              int
	DoneY, DoneHeight     int
	FailedY, FailedHeight int
}

// chart reads a queue's history. What cannot be read hides nothing else of the page.
func (d *Dashboard) chart(ctx context.Context, queue string) (*chartView, error) {
	days, err := d.tasks.Days(ctx, queue, d.cfg.Now(), shownDays)
	if rawtask.Denied(err) {
		return nil, nil //nolint:nilnil // it is not to be seen from here, and nothing went wrong
	}
	if err != nil {
		return nil, err
	}
	view := draw(days)
	return &view, nil
}

func draw(days []rawtask.Day) chartView {
	view := chartView{Width: chartWidth, Height: chartHeight}
	var highest, ended, failed int64
	for _, day := range days {
		highest, ended, failed = max(highest, day.Ended), added(ended, day.Ended), added(failed, day.Failed)
	}
	view.Most, view.Ended, view.Failed, view.Any = count(highest), count(ended), count(failed), highest > 0
	step := chartWidth / len(days)
	high := func(n int64) int {
		if n == 0 {
			return 0
		}
		return max(1, int(float64(n)/float64(highest)*chartHeight)) // what happened is to be seen
	}
	for i, day := range days {
		bad, good := high(day.Failed), high(day.Ended-day.Failed)
		good = min(good, chartHeight-bad)
		view.Days = append(view.Days, dayView{
			Date: day.Date.Format(time.DateOnly), Ended: count(day.Ended), Failed: count(day.Failed), X: i * step, Width: step - 2,
			DoneY: chartHeight - good, DoneHeight: good, FailedY: chartHeight - good - bad, FailedHeight: bad,
		})
	}
	return view
}

// added is no less than either, though both come from Redis.
func added(a, b int64) int64 {
	if a > a+b {
		return a
	}
	return a + b
}

// tryView is what is known of the tries of a task.
type tryView struct {
	Rows []answerRow
	Mail string // whose page has all of it
	Lost string // what nobody has kept
}

// tries tells what is known of a task's tries: of mails each of its outbox row with its answer, of others what Redis keeps.
func (d *Dashboard) tries(ctx context.Context, view *taskView, whole bool) error {
	view.Known.Lost = "Redis keeps how often a task was tried and its last error, and sealq no more of this kind: earlier errors are in the workers' logs, by the task's ID."
	if d.cfg.Mails == nil || view.Row == nil {
		return nil
	}
	found, err := d.cfg.Mails.AttemptsOf(ctx, view.Row.ID)
	if err != nil {
		return fmt.Errorf("tries of a mail: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	view.Known = tryView{Rows: d.answers(found, whole), Mail: view.Row.ID, Lost: "The newest 50 tries are kept. One whose worker ended in the middle has no entry."}
	return nil
}
