package sealq_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// composeFile is the part of docker-compose.yml that the tests look at.
type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
}

type composeService struct {
	Image       string               `yaml:"image"`
	Build       any                  `yaml:"build"`
	Command     []string             `yaml:"command"`
	Environment map[string]string    `yaml:"environment"`
	DependsOn   map[string]condition `yaml:"depends_on"`
	Healthcheck *struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
	Volumes []string `yaml:"volumes"`
	Ports   []string `yaml:"ports"`
	Restart string   `yaml:"restart"`
}

type condition struct {
	Condition string `yaml:"condition"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file composeFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return file
}

func TestComposeDescribesTheWholeSystem(t *testing.T) {
	t.Parallel()
	file := readCompose(t)
	var got []string
	for name := range file.Services {
		got = append(got, name)
	}
	slices.Sort(got)
	want := []string{"keys", "mail", "migrate", "postgres", "redis", "serve"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	awaited := map[string]condition{
		"redis":    {"service_healthy"},
		"postgres": {"service_healthy"},
		"mail":     {"service_healthy"},
		"keys":     {"service_completed_successfully"},
		"migrate":  {"service_completed_successfully"},
	}
	if diff := cmp.Diff(awaited, file.Services["serve"].DependsOn); diff != "" {
		t.Errorf("what serve waits for (-want +got):\n%s", diff)
	}
}

func TestComposeServicesAreCheckedPinnedAndPrivate(t *testing.T) {
	t.Parallel()
	file := readCompose(t)
	for name, service := range file.Services {
		if runsOn := service.Restart != ""; runsOn != (service.Healthcheck != nil && len(service.Healthcheck.Test) > 1) {
			t.Errorf("%s: a service that runs on has a health check, and one that ends has none", name)
		}
		if tag := tagOf(service.Image); tag == "" || tag == "latest" {
			t.Errorf("%s: image %q is not pinned to a version", name, service.Image)
		}
		for other, wait := range service.DependsOn {
			awaited, ok := file.Services[other]
			if !ok {
				t.Errorf("%s waits for %s, which is not there", name, other)
			}
			want := "service_completed_successfully"
			if awaited.Healthcheck != nil {
				want = "service_healthy"
			}
			if wait.Condition != want {
				t.Errorf("%s waits until %s is %q, want %q", name, other, wait.Condition, want)
			}
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network", name, port)
			}
		}
		for _, mount := range service.Volumes {
			volume, _, _ := strings.Cut(mount, ":")
			if _, ok := file.Volumes[volume]; !ok {
				t.Errorf("%s mounts %s, which is no volume of the file", name, volume)
			}
		}
	}
}

// tagOf returns NAME:TAG's tag.
func tagOf(image string) string {
	_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return tag
}

var (
	secretName   = regexp.MustCompile(`(?i)password|passwd|secret|token|credential|api_?key|kek`)
	urlPassword  = regexp.MustCompile(`://[^/@:\s]*:([^/@\s].*?)@`)
	requiredFrom = regexp.MustCompile(`^\$\{[A-Z_]+:\?[^}]+\}$`)
)

// literalSecret returns the secret that a setting spells out; "" for none. A
// secret comes from a variable that has to be set, ${NAME:?what to do}.
func literalSecret(name, value string) string {
	if secretName.MatchString(name) && !requiredFrom.MatchString(value) {
		return value
	}
	if m := urlPassword.FindStringSubmatch(value); m != nil && !requiredFrom.MatchString(m[1]) {
		return m[1]
	}
	return ""
}

func TestComposeSpellsOutNoSecret(t *testing.T) {
	t.Parallel()
	for name, service := range readCompose(t).Services {
		for variable, value := range service.Environment {
			if secret := literalSecret(variable, value); secret != "" {
				t.Errorf("%s: %s spells out a secret, %q: take it from ${NAME:?what to do}", name, variable, secret)
			}
		}
	}
}

func TestLiteralSecretsAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ name, value, want string }{
		"a password":                 {"POSTGRES_PASSWORD", "hunter2", "hunter2"},
		"a default password":         {"POSTGRES_PASSWORD", "${PW:-hunter2}", "${PW:-hunter2}"},
		"a password in a URL":        {"SEALQ_DATABASE_URL", "postgres://u:hunter2@db/sealq", "hunter2"},
		"a default in a URL":         {"SEALQ_DATABASE_URL", "postgres://u:${PW:-hunter2}@db/sealq", "${PW:-hunter2}"},
		"a required variable":        {"POSTGRES_PASSWORD", "${PW:?set it in .env}", ""},
		"a required variable in URL": {"SEALQ_DATABASE_URL", "postgres://u:${PW:?set it}@db/sealq", ""},
		"a URL without a password":   {"SEALQ_REDIS_URL", "redis://redis:6379/0", ""},
		"something else":             {"SEALQ_KEYS", "file:/keys.json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := literalSecret(c.name, c.value); got != c.want {
				t.Errorf("want %q, got %q", c.want, got)
			}
		})
	}
}

// option is one entry of what `sealq config --json` prints.
type option struct {
	Name string `json:"name"`
	Env  string `json:"env"`
	Flag string `json:"flag"`
}

func TestEveryOptionThatComposeSetsExists(t *testing.T) {
	t.Parallel()
	binary := buildSealq(t)
	var config struct {
		Options []option `json:"options"`
	}
	if err := json.Unmarshal([]byte(runSealq(t, binary, "config", "--json")), &config); err != nil {
		t.Fatalf("sealq config --json: %v", err)
	}
	var variables, flags []string
	for _, o := range config.Options {
		variables = append(variables, o.Env)
		flags = append(flags, o.Flag)
	}
	var set int
	for name, service := range readCompose(t).Services {
		for variable := range service.Environment {
			if !strings.HasPrefix(variable, "SEALQ_") {
				continue
			}
			set++
			if !slices.Contains(variables, variable) {
				t.Errorf("%s sets %s, which is no option; there are %v", name, variable, variables)
			}
		}
		if service.Build == nil {
			continue
		}
		words, used := sealqCommand(service.Command)
		for _, flag := range used {
			if !slices.Contains(flags, flag) {
				t.Errorf("%s sets %s, which is no option; there are %v", name, flag, flags)
			}
		}
		usage := "sealq " + strings.Join(words, " ")
		if help := runSealq(t, binary, append(words, "--help")...); len(words) == 0 || !strings.Contains(help, usage) {
			t.Errorf("%s runs %q, which is no command:\n%s", name, usage, help)
		}
	}
	if set == 0 {
		t.Error("docker-compose.yml sets no option of sealq")
	}
}

// sealqCommand splits a service's command into the words that name sealq's
// command and the flags that follow. A shell's script ends in the command.
func sealqCommand(command []string) (words, flags []string) {
	if _, inShell, ok := strings.Cut(strings.Join(command, " "), "exec /sealq "); ok {
		command = strings.Fields(inShell)
	}
	for _, word := range command {
		switch {
		case strings.HasPrefix(word, "-"):
			name, _, _ := strings.Cut(word, "=")
			flags = append(flags, name)
		case len(flags) == 0:
			words = append(words, word)
		}
	}
	return words, flags
}

// buildSealq builds the binary, without the environment's options.
func buildSealq(t *testing.T) string {
	t.Helper()
	noteSources(t)
	binary := t.TempDir() + "/sealq"
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "./cmd/sealq").CombinedOutput()
	if err != nil {
		t.Fatalf("build cmd/sealq: %v\n%s", err, out)
	}
	return binary
}

func runSealq(t *testing.T, binary string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sealq %s: %v%s", strings.Join(args, " "), err, stderrOf(err))
	}
	return string(out)
}

// instruction is one instruction of a Dockerfile.
type instruction struct{ name, rest string }

// readDockerfile returns the Dockerfile's stages, each from its FROM on.
func readDockerfile(t *testing.T) [][]instruction {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var stages [][]instruction
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if name == "FROM" {
			stages = append(stages, nil)
		}
		if len(stages) == 0 {
			t.Fatalf("%s stands before the first FROM", name)
		}
		last := len(stages) - 1
		stages[last] = append(stages[last], instruction{name, strings.TrimSpace(rest)})
	}
	return stages
}

func TestImageIsStaticAndNotRoot(t *testing.T) {
	t.Parallel()
	stages := readDockerfile(t)
	if len(stages) < 2 {
		t.Fatalf("%d stage: what builds the binary would be in the image", len(stages))
	}
	final := stages[len(stages)-1]
	if final[0].rest != "scratch" {
		t.Errorf("the image starts from %s, want scratch", final[0].rest)
	}
	var user, entry string
	for _, i := range final {
		switch i.name {
		case "USER":
			user = i.rest
		case "ENTRYPOINT":
			entry = i.rest
		case "RUN", "ADD":
			t.Errorf("the image has %s, want it to copy from other stages alone", i.name)
		case "COPY":
			if !strings.Contains(i.rest, "--from=") {
				t.Errorf("COPY %s takes a file of this folder into the image", i.rest)
			}
		}
	}
	// A number: Kubernetes' runAsNonRoot cannot look names up.
	if !regexp.MustCompile(`^[1-9][0-9]*(:[1-9][0-9]*)?$`).MatchString(user) {
		t.Errorf("the image runs as %q, want the number of a user that is not root", user)
	}
	if want := `["/sealq"]`; entry != want {
		t.Errorf("the image runs %s, want %s", entry, want)
	}
	if build := fmt.Sprint(stages[0]); !strings.Contains(build, "CGO_ENABLED=0 go build") {
		t.Errorf("the binary is not built static: %s", build)
	}
}

func TestImageHoldsNoSecretAndNoFloatingBase(t *testing.T) {
	t.Parallel()
	var names []string
	for _, stage := range readDockerfile(t) {
		for _, i := range stage {
			base, _, _ := strings.Cut(i.rest, " ")
			switch i.name {
			case "FROM":
				if tag := tagOf(base); base != "scratch" && (tag == "" || tag == "latest") {
					t.Errorf("FROM %s is not pinned to a version", base)
				}
				if _, name, ok := strings.Cut(i.rest, " AS "); ok {
					names = append(names, name)
				}
			case "ENV", "ARG":
				if secretName.MatchString(i.rest) {
					t.Errorf("%s %s looks like a secret", i.name, i.rest)
				}
			case "COPY":
				if source, ok := strings.CutPrefix(base, "--from="); ok && !slices.Contains(names, source) && tagOf(source) == "" {
					t.Errorf("COPY %s takes from an image without a version", i.rest)
				}
			}
		}
	}
	ignored, err := os.ReadFile(".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(ignored), "\n")
	for _, want := range []string{".git", "**/.env*", "**/keys.json", "**/*.db"} {
		if !slices.Contains(lines, want) {
			t.Errorf(".dockerignore lets %s into the build", want)
		}
	}
}
