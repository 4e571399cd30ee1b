package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The real apt-get, with folders of its own and no source of packages: it asks nobody, and needs no rights.
func TestOutOfDateListsAreRenewedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"lists/partial", "archives/partial", "dpkg"} {
		check(os.MkdirAll(filepath.Join(dir, folder), 0o755))
	}
	check(os.WriteFile(filepath.Join(dir, "dpkg/status"), nil, 0o600))
	config := filepath.Join(dir, "apt.conf")
	check(os.WriteFile(config, []byte(strings.ReplaceAll(`
Dir::Etc::parts "DIR/none"; Dir::Etc::sourcelist "DIR/none"; Dir::Etc::sourceparts "DIR/none";
Dir::State "DIR"; Dir::State::status "DIR/dpkg/status"; Dir::Cache "DIR"; Dir::Log "DIR";
`, "DIR", dir)), 0o600))
	var log strings.Builder
	policy := filepath.Join(dir, "policy-rc.d")
	i := installer{environ: append(os.Environ(), "APT_CONFIG="+config), policy: policy, log: &log}
	err := i.install(t.Context(), []software{{debian: "sealq-no-such-package"}})
	if err == nil || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("want an error that names the command, got %v", err)
	}
	var asked []string
	for line := range strings.Lines(log.String()) {
		if command, ok := strings.CutPrefix(line, "withservers: apt-get "); ok {
			asked = append(asked, strings.TrimSpace(command))
		}
	}
	packages := "install -y --no-install-recommends sealq-no-such-package"
	if diff := cmp.Diff([]string{packages, "update -q", packages}, asked); diff != "" {
		t.Errorf("apt-get was asked (-want +got):\n%s\n%s", diff, &log)
	}
	if _, err := os.Stat(policy); !os.IsNotExist(err) {
		t.Errorf("the script that forbids services stays: %v", err)
	}
}
