package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/config"
	"github.com/sealq/sealq/jobs"
)

func TestTheGuidesScheduleFileIsTaken(t *testing.T) {
	t.Parallel()
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(docsFile(t, "schedules.md"))
	if example == nil {
		t.Fatal("the guide has no example")
	}
	path := filepath.Join(t.TempDir(), "sealq.yaml")
	check(t, os.WriteFile(path, []byte(example[1]), 0o600))
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags)
	check(t, flags.Parse([]string{"--config", path}))
	settings, err := config.Load(flags, nil)
	check(t, err)
	db, err := app.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "sealq.db"))
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	_, err = db.Migrate(t.Context())
	check(t, err)
	s, refused, err := app.NewScheduler(db, app.SchedulerConfig{Configured: configured(settings.Schedules())})
	check(t, err)
	if len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var book jobs.ScheduleBook
	for deadline := time.Now().Add(time.Minute); len(book.Schedules) == 0 && time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		book, err = db.ScheduleBook(t.Context(), 0)
		check(t, err)
	}
	stop()
	check(t, <-ended)
	got := make(map[string]string)
	for _, sch := range book.Schedules {
		got[sch.Name] = strings.Join([]string{sch.Cron, sch.Zone, string(sch.Kind), sch.Args, string(sch.CatchUp), sch.Jitter.String()}, "|")
		if sch.Paused != (sch.Name == "lockouts:reset") {
			t.Errorf("%s: paused %v", sch.Name, sch.Paused)
		}
	}
	want := map[string]string{
		"users:expire_pending": `*/10 * * * *||users:expire_pending|{}|latest|30s`,
		"lockouts:reset":       `* * * * *||lockouts:reset|{}|latest|0s`,
		"retention:purge":      `17 3 * * *||retention:purge|{}|latest|0s`,
		"night":                `30 2 * * *|Europe/Berlin|users:expire_pending|{"limit":100000}|skip|0s`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("schedules (-want +got):\n%s", diff)
	}
}

func TestTheBinaryBringsItsTimeZones(t *testing.T) {
	t.Parallel()
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	check(t, err)
	if !strings.Contains(string(deps), "\ntime/tzdata\n") {
		t.Error("on a host without time zone data no schedule could have a zone")
	}
}
