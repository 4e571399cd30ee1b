package worker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// room are budgets of that many files.
func room(unverified, authentic int64) quarantine.Budgets {
	return quarantine.Budgets{Unverified: quarantine.Budget{Entries: unverified}, Authentic: quarantine.Budget{Entries: authentic}}
}

func signedEntry(n int) jobs.Refused {
	e := entry(n)
	e.Authentic, e.Reason = true, signing.ReasonBadPayload
	return e
}

func TestAFolderKeepsWithinItsBudgetsAndCountsTheRest(t *testing.T) {
	t.Parallel()
	dir, clock := t.TempDir(), newClock()
	open := func() *worker.Dir {
		t.Helper()
		d, err := worker.OpenDirWith(dir, worker.DirConfig{Budgets: room(2, 1), Now: clock.now})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	keep := func(e jobs.Refused, want error) {
		t.Helper()
		if err := d.Keep(t.Context(), e); !errors.Is(err, want) {
			t.Errorf("%s: want %v, got %v", e.TaskID, want, err)
		}
	}
	usage := func(unverified, authentic, counted int64) {
		t.Helper()
		u, err := d.QuarantineUsage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int64{unverified, authentic, counted}, []int64{u.Unverified.Entries, u.Authentic.Entries, u.Overflow[signing.ReasonBadSignature].Entries}); diff != "" {
			t.Errorf("forged, signed, counted (-want +got):\n%s", diff)
		}
	}
	keep(entry(1), nil)
	keep(entry(2), nil)
	keep(entry(1), nil) // it is there
	keep(entry(3), quarantine.ErrCounted)
	keep(entry(3), quarantine.ErrCounted)
	keep(signedEntry(4), nil)
	keep(signedEntry(5), quarantine.ErrFull)
	keep(signedEntry(4), nil)
	usage(2, 1, 2)
	if _, err := d.QuarantineShow(t.Context(), signedEntry(4).ID); err != nil {
		t.Error(err)
	}
	if list, err := d.QuarantineList(t.Context(), 10); err != nil || len(list) != 3 {
		t.Errorf("want three entries, got %v, %v", list, err)
	}

	// Another process finds the folder as it is; what this one counted last is written with the next count.
	clock.advance(2 * time.Second)
	keep(entry(6), quarantine.ErrCounted)
	d = open()
	usage(2, 1, 3)
	keep(entry(7), quarantine.ErrCounted)
	keep(signedEntry(8), quarantine.ErrFull)
	usage(2, 1, 4)

	// What somebody deletes makes room within a minute.
	if err := os.Remove(filepath.Join(dir, entry(1).ID+".json")); err != nil {
		t.Fatal(err)
	}
	keep(entry(9), quarantine.ErrCounted)
	clock.advance(time.Minute)
	keep(entry(10), nil)
	keep(entry(11), quarantine.ErrCounted)
}

func TestAFolderCountsCopiesOfGenuineTasksApartAndKeepsItsReserve(t *testing.T) {
	t.Parallel()
	budgets := room(1, 1)
	budgets.Moved.Entries = 2
	dir := t.TempDir()
	d, err := worker.OpenDirWith(dir, worker.DirConfig{Budgets: budgets})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []error{nil, nil, quarantine.ErrCounted, quarantine.ErrCounted} {
		e := signedEntry(n)
		e.Reason = signing.ReasonWrongQueue
		if err := d.Keep(t.Context(), e); !errors.Is(err, want) {
			t.Errorf("copy %d: want %v, got %v", n, want, err)
		}
	}
	if err := d.Keep(t.Context(), signedEntry(4)); err != nil {
		t.Errorf("what its signer is to blame for: %v", err)
	}
	if err := d.Keep(t.Context(), entry(5)); err != nil {
		t.Errorf("a forgery: %v", err)
	}
	if d, err = worker.OpenDirWith(dir, worker.DirConfig{Budgets: budgets}); err != nil { // which finds it as it is
		t.Fatal(err)
	}
	u, err := d.QuarantineUsage(t.Context())
	if err != nil || u.Moved.Entries != 2 || u.Authentic.Entries != 1 || u.Unverified.Entries != 1 {
		t.Errorf("want 2 moved, 1 reserved, 1 forged, got %+v, %v", u, err)
	}
	if e, err := d.QuarantineShow(t.Context(), signedEntry(1).ID); err != nil || !e.Authentic {
		t.Errorf("a copy is not shown as authentic: %+v, %v", e, err)
	}
}

func TestDamagedCountersKeepNoForgedTaskInTheQueue(t *testing.T) {
	t.Parallel()
	dir, clock := t.TempDir(), newClock()
	d, err := worker.OpenDirWith(dir, worker.DirConfig{Budgets: room(1, 1), Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overflow.json"), []byte("{damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, want := range []error{nil, quarantine.ErrCounted, quarantine.ErrCounted} {
		if err := d.Keep(t.Context(), entry(n)); !errors.Is(err, want) {
			t.Errorf("forgery %d: want %v, got %v", n, want, err)
		}
	}
	u, err := d.QuarantineUsage(t.Context())
	if err != nil || u.Overflow[signing.ReasonBadSignature].Entries != 2 {
		t.Errorf("want two counted, got %+v, %v", u, err)
	}
	if aside, err := os.ReadFile(filepath.Join(dir, "overflow.json.damaged")); err != nil || string(aside) != "{damaged" {
		t.Errorf("the damaged file is not kept aside: %q, %v", aside, err)
	}
}

func TestAFolderCountsBytesToo(t *testing.T) {
	t.Parallel()
	d, err := worker.OpenDirWith(t.TempDir(), worker.DirConfig{Budgets: quarantine.Budgets{Unverified: quarantine.Budget{Bytes: 2000}}})
	if err != nil {
		t.Fatal(err)
	}
	large := entry(1)
	large.Payload = make([]byte, 2000)
	if err := d.Keep(t.Context(), large); !errors.Is(err, quarantine.ErrCounted) {
		t.Errorf("a large entry: want it counted, got %v", err)
	}
	if err := d.Keep(t.Context(), entry(2)); err != nil {
		t.Errorf("a small one: %v", err)
	}
}

func TestManyWhoKeepInOneFolderAtOnceStayWithinItsBudget(t *testing.T) {
	t.Parallel()
	d, err := worker.OpenDirWith(t.TempDir(), worker.DirConfig{Budgets: room(10, 10)})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			if err := d.Keep(t.Context(), entry(n)); err != nil && !errors.Is(err, quarantine.ErrCounted) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	u, err := d.QuarantineUsage(t.Context())
	if err != nil || u.Unverified.Entries != 10 || u.Overflow[signing.ReasonBadSignature].Entries != 30 {
		t.Errorf("want 10 kept and 30 counted, got %+v, %v", u, err)
	}
}

func TestAForgedTaskLeavesTheQueueThoughTheQuarantineIsFullAndASignedOneStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := t.TempDir()
	var counted, kept calls
	v := r.verifier(t, worker.Config{
		QuarantineDir: dir, QuarantineBudgets: room(1, 1),
		OnVerdict: func(_ context.Context, v worker.Verdict) {
			switch {
			case v.Outcome == worker.Refused && v.Counted:
				counted.add(string(v.Reason))
			case v.Outcome == worker.Refused:
				kept.add(string(v.Reason))
			}
		},
	})
	h := worker.NewHandlers(worker.HandlersConfig{}) // what is signed is refused as must_be_encrypted
	worker.Handle(h, jobs.Define[welcome]("mail:welcome", jobs.Policy{Encrypt: true}), func(context.Context, worker.Job[welcome]) error { return nil })
	r.serve(t, v, h, asynq.Config{Queues: map[string]int{"mail": 1}})
	r.put(t, genuine("forged 1"), signing.Task{}, nil)
	eventually(t, "the first forgery is kept", func() bool { return cmp.Equal(kept.all(), []string{"missing_signature"}) })
	r.put(t, genuine("signed 1"), genuine("signed 1"), r.keys)
	eventually(t, "the first signed one is kept", func() bool { return cmp.Equal(kept.all(), []string{"missing_signature", "must_be_encrypted"}) })

	r.put(t, genuine("forged 2"), signing.Task{}, nil)
	eventually(t, "the second forgery is counted", func() bool { return cmp.Equal(counted.all(), []string{"missing_signature"}) })
	r.put(t, genuine("signed 2"), genuine("signed 2"), r.keys)
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, "the second signed one waits", func() bool {
		info, err := inspector.GetTaskInfo("mail", "signed 2")
		return err == nil && info.State == asynq.TaskStateRetry && info.Retried == 0
	})
	eventually(t, "the second forgery has left the queue", func() bool {
		_, err := inspector.GetTaskInfo("mail", "forged 2")
		return errors.Is(err, asynq.ErrTaskNotFound)
	})
	// Genuine tasks that somebody may have copied here leave the queue as well, whatever is full.
	for _, id := range []string{"moved 1", "moved 2"} {
		task := genuine(id)
		task.Kind = "mail:elsewhere"
		r.put(t, task, task, r.keys)
		eventually(t, id+" has left the queue", func() bool {
			_, err := inspector.GetTaskInfo("mail", id)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
	}
	if len(kept.all()) != 3 || len(counted.all()) != 2 {
		t.Errorf("kept %v, counted %v", kept.all(), counted.all())
	}
}
