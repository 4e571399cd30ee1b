package sealq_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/sealq/sealq"

// place is where a package stands in the floor plan. A package imports only
// what stands on a floor below its own, or in its own family on its own floor:
// siblings do not know one another.
type place struct {
	floor int
	// family is the folder whose packages may know one another.
	family string
	// knowsNot are paths that it does not import itself.
	knowsNot []string
	// withoutAll are paths that are not to be found in all that it pulls in.
	withoutAll []string
	// testsOnly: nobody imports it but tests and its own family.
	testsOnly bool
}

// lighter is what whoever does without a database and mail never pulls in.
var lighter = []string{
	"github.com/jackc/pgx", "modernc.org/sqlite", "github.com/wneessen/go-mail",
	module + "/accounts", module + "/store", module + "/mail", module + "/dashboard",
}

// light is what an application that only signs and verifies never pulls in. Of OpenTelemetry it gets the API of traces, and
// nothing that sends any: not even the propagation package, with which comes net/http.
var light = append(slices.Clone(lighter), "github.com/prometheus", module+"/metrics", "net/http",
	"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters", "go.opentelemetry.io/otel/propagation")

var queue = []string{"github.com/hibiken/asynq"}

// floorPlan gives every package its place. A name that ends in /... stands for
// all packages below it.
var floorPlan = map[string]place{
	"signing":        {floor: 0, withoutAll: light},
	"signing/attack": {floor: 1, withoutAll: light},
	"accounts":       {floor: 0},
	"operators":      {floor: 1, withoutAll: queue},                                 // whoever comes in; the dashboard shows them the door
	"requests":       {floor: 1, withoutAll: append(slices.Clone(light), queue...)}, // what the pages ask for, and who holds what it takes does
	"audit":          {floor: 0, withoutAll: light},
	"mail":           {floor: 0},
	"mail/catcher":   {floor: 0},

	"mail/catcher/inbox": {floor: 1},

	"jobs":                  {floor: 1, withoutAll: light}, // not even the packages below it
	"internal/trips":        {floor: 0, withoutAll: light}, // it knows Redis, and no job
	"jobs/internal/fixture": {floor: 1, family: "jobs/internal", testsOnly: true},
	"jobs/authjobs":         {floor: 1, family: "jobs", withoutAll: light},
	"jobs/relay":            {floor: 1, family: "jobs", withoutAll: light},
	"jobs/quarantine":       {floor: 1, family: "jobs", withoutAll: light},
	"jobs/sweep":            {floor: 1, family: "jobs", withoutAll: light},
	"jobs/rawtask":          {floor: 1, family: "jobs", withoutAll: light},
	"jobs/judge":            {floor: 1, family: "jobs", withoutAll: light}, // it holds the keys, so that the dashboard need not

	"store":          {floor: 2, family: "store", knowsNot: queue},
	"store/postgres": {floor: 2, knowsNot: queue},
	"store/sqlite":   {floor: 2, knowsNot: queue},
	"worker":         {floor: 2, family: "worker", withoutAll: light},
	"worker/calm":    {floor: 2, withoutAll: append(slices.Clone(light), queue...)}, // asynq's own tests run over it
	"worker/janitor": {floor: 2, withoutAll: light},                                 // it does not know the worker

	"docs/runbooks":     {floor: 0, withoutAll: light},
	"dashboard":         {floor: 3, knowsNot: []string{module + "/signing"}}, // it holds no secret
	"metrics":           {floor: 3, withoutAll: lighter},                     // what the others tell, for Prometheus, which they do not know
	"scheduler":         {floor: 3, knowsNot: []string{module + "/worker"}},
	"worker/authworker": {floor: 3},

	"cmd/sealq/...": {floor: 4, family: "cmd/sealq"},
	"examples/...":  {floor: 4, family: "examples"},
	// What `sealq dev` and `sealq demo` show, too.
	"examples/signup/site": {floor: 3},

	// What apps' own tests use, of jobs and of handlers.
	"jobs/jobstest": {floor: 3, family: "jobs/jobstest", testsOnly: true, withoutAll: light},

	// Tests of all together.
	"internal/survival": {floor: 4, family: "internal/survival", testsOnly: true},

	// The drivers' conformance suite speaks the interfaces of all their consumers.
	"store/storetest":          {floor: 4, family: "store/storetest", testsOnly: true},
	"internal/testservers/...": {floor: 0, family: "internal/testservers", testsOnly: true},
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// placeOf returns the place of the package path, relative to the module.
func placeOf(path string) (place, bool) {
	if p, ok := floorPlan[path]; ok {
		return p, true
	}
	for name, p := range floorPlan {
		if root, ok := strings.CutSuffix(name, "/..."); ok && within(path, root) {
			return p, true
		}
	}
	return place{}, false
}

// within says whether path is root or lies below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// ours returns path relative to the module, and whether it lies in it.
func ours(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

// breaches returns one sentence for each wall that the packages break.
func breaches(packages []goPackage) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, pkg := range packages {
		path, ok := ours(pkg.ImportPath)
		if !ok || len(pkg.GoFiles) == 0 { // the root has tests alone
			continue
		}
		own, ok := placeOf(path)
		if !ok {
			say("%s has no place: give it one in the table floorPlan of floorplan_test.go", path)
			continue
		}
		for _, imported := range pkg.Imports {
			for _, wall := range own.knowsNot {
				if within(imported, wall) {
					say("%s imports %s, which it must not know", path, imported)
				}
			}
			if other, ok := ours(imported); ok {
				if reason := mayNotImport(path, own, other); reason != "" {
					say("%s imports %s, %s", path, other, reason)
				}
			}
		}
		for _, dep := range pkg.Deps {
			for _, wall := range own.withoutAll {
				if within(dep, wall) {
					say("%s pulls in %s", path, dep)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// mayNotImport returns why own, the place of path, must not import other.
func mayNotImport(path string, own place, other string) string {
	theirs, ok := placeOf(other)
	switch {
	case !ok:
		return "" // said where other itself is looked at
	case own.family != "" && within(other, own.family) && theirs.floor == own.floor && !theirs.testsOnly,
		theirs.testsOnly && within(path, theirs.family):
		return ""
	case theirs.testsOnly:
		return "which is for tests only"
	case theirs.floor >= own.floor:
		return fmt.Sprintf("which does not stand below it (floor %d, itself on floor %d)", theirs.floor, own.floor)
	}
	return ""
}

func TestEveryPackageKeepsToTheFloorPlan(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	for _, breach := range breaches(packages) {
		t.Error(breach)
	}
	// A wrong pattern or prefix would find nothing, and nothing wrong.
	var seen []string
	for _, pkg := range packages {
		if path, ok := ours(pkg.ImportPath); ok {
			seen = append(seen, path)
		}
	}
	for _, want := range []string{"signing", "accounts", "jobs", "worker"} {
		if !slices.Contains(seen, want) {
			t.Errorf("go list does not report %s among %v", want, seen)
		}
	}
}

func TestFloorPlanFindsBreaches(t *testing.T) {
	t.Parallel()
	pkg := func(path string, imports ...string) goPackage {
		for i, imported := range imports {
			if !strings.Contains(imported, ".") {
				imports[i] = module + "/" + imported
			}
		}
		return goPackage{ImportPath: module + "/" + path, GoFiles: []string{"a.go"}, Imports: imports, Deps: imports}
	}
	for name, c := range map[string]struct {
		pkg  goPackage
		want []string
	}{
		"below it":                          {pkg("jobs", "signing", "github.com/hibiken/asynq"), nil},
		"its own family":                    {pkg("store", "store/postgres", "store/sqlite", "jobs"), nil},
		"examples take all":                 {pkg("examples/dropin/after", "worker", "jobs", "signing"), nil},
		"the command takes a site":          {pkg("cmd/sealq", "examples/signup/site"), nil},
		"the command takes no example":      {pkg("cmd/sealq", "examples/dropin/after"), []string{"cmd/sealq imports examples/dropin/after, which does not stand below it (floor 4, itself on floor 4)"}},
		"the command takes all":             {pkg("cmd/sealq", "cmd/sealq/internal/app", "dashboard", "scheduler", "store", "mail/catcher"), nil},
		"test servers know one another":     {pkg("internal/testservers/withservers", "internal/testservers"), nil},
		"no place":                          {pkg("helpers"), []string{"helpers has no place: give it one in the table floorPlan of floorplan_test.go"}},
		"above it":                          {pkg("jobs", "worker"), []string{"jobs imports worker, which does not stand below it (floor 2, itself on floor 1)"}},
		"its own family, which may not":     {pkg("jobs", "jobs/relay"), []string{"jobs imports jobs/relay, which does not stand below it (floor 1, itself on floor 1)"}},
		"a sibling on the ground":           {pkg("accounts", "signing"), []string{"accounts imports signing, which does not stand below it (floor 0, itself on floor 0)"}},
		"a sibling on the second floor":     {pkg("store/sqlite", "store/postgres"), []string{"store/sqlite imports store/postgres, which does not stand below it (floor 2, itself on floor 2)"}},
		"a sibling under the roof":          {pkg("dashboard", "scheduler"), []string{"dashboard imports scheduler, which does not stand below it (floor 3, itself on floor 3)"}},
		"the scheduler does not know work":  {pkg("scheduler", "worker"), []string{"scheduler imports github.com/sealq/sealq/worker, which it must not know"}},
		"the store does not know the queue": {pkg("store/postgres", "github.com/hibiken/asynq"), []string{"store/postgres imports github.com/hibiken/asynq, which it must not know"}},
		"a database in the worker":          {pkg("worker", "github.com/jackc/pgx/v5"), []string{"worker pulls in github.com/jackc/pgx/v5"}},
		"accounts in the jobs":              {pkg("jobs/relay", "accounts"), []string{"jobs/relay pulls in github.com/sealq/sealq/accounts"}},
		"test servers in the product":       {pkg("cmd/sealq", "internal/testservers/instance"), []string{"cmd/sealq imports internal/testservers/instance, which is for tests only"}},
		"apps' test support in the product": {pkg("worker/authworker", "jobs/jobstest"), []string{"worker/authworker imports jobs/jobstest, which is for tests only"}},
		"Prometheus in the worker":          {pkg("worker", "github.com/prometheus/client_golang/prometheus"), []string{"worker pulls in github.com/prometheus/client_golang/prometheus"}},
		"OpenTelemetry's SDK in the jobs":   {pkg("jobs", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/sdk/trace"), []string{"jobs pulls in go.opentelemetry.io/otel/sdk/trace"}},
		"metrics in the worker":             {pkg("worker", "metrics"), []string{"worker imports metrics, which does not stand below it (floor 3, itself on floor 2)", "worker pulls in github.com/sealq/sealq/metrics"}},
		"a database in the metrics":         {pkg("metrics", "github.com/jackc/pgx/v5"), []string{"metrics pulls in github.com/jackc/pgx/v5"}},
		"a database in apps' test support":  {pkg("jobs/jobstest", "worker", "modernc.org/sqlite"), []string{"jobs/jobstest pulls in modernc.org/sqlite"}},
		"the suite in the product":          {pkg("store", "store/storetest"), []string{"store imports store/storetest, which is for tests only"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, breaches([]goPackage{c.pkg})); diff != "" {
				t.Errorf("breaches (-want +got):\n%s", diff)
			}
		})
	}
}

// listPackages asks go about every package of the module.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	noteSources(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,GoFiles,Imports,Deps", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v%s", err, stderrOf(err))
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg goPackage
		err := decoder.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list's JSON: %v", err)
		}
		packages = append(packages, pkg)
	}
}

func stderrOf(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "\n" + string(exit.Stderr)
	}
	return ""
}

// noteSources looks at every source file, so that go's test cache knows that a
// test of the whole tree depends on them: it does not see what go list reads.
func noteSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (path == ".git" || path == "bin") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") || entry.Name() == "go.mod" {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
