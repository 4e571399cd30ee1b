package instance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
)

// ErrNotInstalled is the cause when a server's binaries are not on this machine.
var ErrNotInstalled = errors.New("not installed")

// FindRedis returns the path of redis-server, looked up on PATH.
func FindRedis() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", fmt.Errorf("redis-server: %w", ErrNotInstalled)
	}
	return path, nil
}

// FindChromium returns the path of Chromium, looked up on PATH; Chrome serves as well.
func FindChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("chromium: %w", ErrNotInstalled)
}

// FindPostgres returns the folder that holds PostgreSQL's initdb and postgres.
//
// A lone postgres on PATH may be a link into a folder that PATH does not name,
// and Debian keeps every major version in a folder of its own, newest wanted:
// so only a folder that holds both counts.
func FindPostgres() (string, error) {
	for _, dir := range postgresFolders() {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL's initdb and postgres: %w", ErrNotInstalled)
}

func postgresFolders() []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
		dirs = append(dirs, filepath.Dir(path))
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed: no error
	slices.SortFunc(debian, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	dirs = append(dirs, debian...)
	if runtime.GOOS == "darwin" {
		brew, _ := filepath.Glob("/opt/homebrew/opt/postgresql@*/bin")
		slices.Reverse(brew)
		dirs = append(dirs, brew...)
	}
	return dirs
}

// majorVersion reads 15 out of /usr/lib/postgresql/15/bin; 0 where it is not a number.
func majorVersion(dir string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	if err != nil {
		return 0
	}
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}
