package rawtask_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs/rawtask"
)

func TestPagesFollowOneAnother(t *testing.T) {
	t.Parallel()
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			for i := range 130 {
				put(t, c, fmt.Sprintf("p%03d", i))
			}
			put(t, c, "later", asynq.ProcessIn(time.Hour))
			tasks := rawtask.NewLister(c)
			for from, want := range map[int][3]string{0: {"100", "p000", "p099"}, 100: {"30", "p100", "p129"}, 130: {"0", "", ""}} {
				page, total, err := tasks.Page(t.Context(), queue, rawtask.Pending, from)
				if err != nil || total != 130 {
					t.Fatalf("from %d: of %d, %v", from, total, err)
				}
				got := [3]string{fmt.Sprint(len(page)), "", ""}
				if len(page) > 0 {
					got[1], got[2] = page[0].ID, page[len(page)-1].ID
				}
				if got != want {
					t.Errorf("from %d: want %v, got %v", from, want, got)
				}
			}
			page, total, err := tasks.Page(t.Context(), queue, rawtask.Scheduled, 0)
			if err != nil || total != 1 || len(page) != 1 || page[0].ID != "later" || page[0].State() != rawtask.Scheduled {
				t.Errorf("scheduled: %v of %d, %v", page, total, err)
			}
			do(t, c, []any{"set", "asynq:{" + queue + "}:retry", "x"})
			_, _, err = tasks.Page(t.Context(), queue, rawtask.Retry, 0)
			if place, ok := errors.AsType[*rawtask.PlaceError](err); !ok || place.State != rawtask.Retry {
				t.Errorf("a key of another type: %v", err)
			}
			for state, from := range map[rawtask.State]int{rawtask.Unlisted: 0, rawtask.Aggregating: 0, "x": 0, rawtask.Pending: -1, rawtask.Active: rawtask.MaxFrom + 1} {
				if _, _, err := tasks.Page(t.Context(), queue, state, from); err == nil {
					t.Errorf("%s from %d was listed", state, from)
				}
			}
		})
	}
}
