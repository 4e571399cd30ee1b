package worker_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

func entry(n int) jobs.Refused {
	payload := []byte{0, 0xff, '\n', byte(n)}
	return jobs.Refused{
		ID: uuid.NewSHA1(uuid.Nil, []byte{byte(n)}).String(), TaskID: fmt.Sprint("task ", n), Queue: "mail", Kind: "mail:welcome",
		Headers: map[string]string{"a": "b\x00c"}, MaxRetry: 5, Payload: payload, Size: int64(len(payload)), PayloadSHA256: sha256.Sum256(payload),
		Reason: signing.ReasonBadSignature, KID: "f7e2c87f", Detail: "why", ReceivedAt: time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC),
	}
}

func TestAnEntryOfTheFolderComesBackAsItWasKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "as needed")
	d, err := worker.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		for range 2 { // keeping twice keeps once
			if err := d.Keep(t.Context(), entry(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := d.QuarantineShow(t.Context(), entry(1).ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entry(1), got); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	list, err := d.QuarantineList(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range list {
		if e.Payload != nil || e.Headers != nil {
			t.Errorf("the list of entries holds a payload: %+v", e)
		}
		ids = append(ids, e.TaskID)
	}
	if diff := cmp.Diff([]string{"task 2", "task 1"}, ids); diff != "" {
		t.Errorf("newest first, at most two (-want +got):\n%s", diff)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
}

func TestWhatIsNoEntryOfTheFolderIsNotShown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := worker.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{
		"unknown": uuid.NewString(), "a path out of the folder": "../../etc/passwd", "blank": "", "not an ID": "x",
	} {
		if _, err := d.QuarantineShow(t.Context(), id); !errors.Is(err, jobs.ErrNoSuchEntry) {
			t.Errorf("%s: want ErrNoSuchEntry, got %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := d.QuarantineList(t.Context(), 10); err != nil || len(list) != 0 {
		t.Errorf("want an empty list, got %v, %v", list, err)
	}
}

func TestAFolderThatCannotBeMadeIsReportedByItsPath(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := worker.OpenDir(filepath.Join(file, "sub"))
	if err == nil {
		t.Fatal("a folder below a file was opened")
	}
}
