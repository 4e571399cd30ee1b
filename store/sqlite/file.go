package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// prepareFile makes sure that there is a file, and returns its absolute path.
func prepareFile(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("no file is named: use --database-url sqlite:PATH")
	case strings.Contains(path, ":memory:"):
		return "", errors.New("a database in memory would be another one for each connection: let --database-url sqlite:PATH name a file")
	case strings.HasPrefix(path, "sqlite:"):
		return "", fmt.Errorf("%q is a URL: give sqlite.Open the path alone; --database-url sqlite:PATH is what store.Open takes", path)
	case strings.HasPrefix(path, "file:"):
		return "", fmt.Errorf("%q is a URI: let --database-url sqlite:PATH name the file by its path alone", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find the folder of the database: %w", err)
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return path, create(path)
	case err != nil:
		return "", fmt.Errorf("--database-url sqlite:PATH: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file: let --database-url sqlite:PATH name one", path)
	}
	return path, nil
}

// create makes an empty file with mode 0600; SQLite gives its log the same mode. The file is made under another name and
// closed before it appears under its own: closing it later would take away the locks (POSIX) of a connection that this
// process has opened to it meanwhile.
func create(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".sealq-new-*")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder %s does not exist: create it, or let --database-url sqlite:PATH name a file in another one", filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("--database-url sqlite:PATH needs a folder that this user may write to: %w", err)
	}
	err = errors.Join(f.Close(), os.Link(f.Name(), path), os.Remove(f.Name()))
	if err != nil && !errors.Is(err, fs.ErrExist) { // somebody else was faster
		return fmt.Errorf("create the file of --database-url sqlite:PATH: %w", err)
	}
	return nil
}
