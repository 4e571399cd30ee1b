package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// software is what the tests need as binaries on this machine.
type software struct {
	name    string // as a person calls it
	debian  string // the package that has it
	urlEnv  string // what to set instead
	pathEnv string // where its path is handed on
	find    func() (string, error)
}

// missingError says what is missing and what to do about it, in one sentence.
type missingError struct {
	missing []software
	cause   error // why Debian's packages were not installed
}

func (e *missingError) Error() string {
	var names, packages, variables []string
	for _, s := range e.missing {
		names = append(names, s.name)
		packages = append(packages, s.debian)
		variables = append(variables, s.urlEnv)
	}
	return fmt.Sprintf("the tests need %s, not found on this machine (%s): install it (on Debian: apt-get install %s), or set %s",
		strings.Join(names, " and "), e.cause, strings.Join(packages, " "), strings.Join(variables, " and "))
}

func (e *missingError) Unwrap() error { return e.cause }

// Why Debian's packages were not installed.
var (
	errNotRoot   = errors.New("and only root may install packages")
	errNotDebian = errors.New("which has no apt-get to install it with")
	errInstalled = errors.New("though Debian's packages are installed")
)

// provide finds the software, installing Debian's packages for what is missing.
// It returns path by pathEnv.
func provide(ctx context.Context, wanted []software, i installer) (map[string]string, error) {
	found, missing := locate(wanted)
	if len(missing) == 0 {
		return found, nil
	}
	if os.Geteuid() != 0 {
		return nil, &missingError{missing, errNotRoot}
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, &missingError{missing, errNotDebian}
	}
	if err := i.install(ctx, missing); err != nil {
		return nil, &missingError{missing, err}
	}
	if found, missing = locate(wanted); len(missing) > 0 {
		return nil, &missingError{missing, errInstalled}
	}
	return found, nil
}

func locate(wanted []software) (found map[string]string, missing []software) {
	found = map[string]string{}
	for _, s := range wanted {
		path, err := s.find()
		if err != nil {
			missing = append(missing, s)
			continue
		}
		found[s.pathEnv] = path
	}
	return found, missing
}

// installer installs Debian's packages.
type installer struct {
	environ []string
	policy  string // path of the script that packages ask before they start a service
	log     io.Writer
}

// policyPath is where Debian's packages look for that script.
const policyPath = "/usr/sbin/policy-rc.d"

// noServices refuses every start: the tests want the binaries alone.
const noServices = "#!/bin/sh\n# Made by sealq's withservers while it installs packages: start no service.\nexit 101\n"

// install asks apt-get, which asks nobody: first with the lists of packages that are there, and only where they do not serve, because there are none
// or they are out of date, with new ones.
func (i installer) install(ctx context.Context, missing []software) (err error) {
	packages := []string{"install", "-y", "--no-install-recommends"}
	for _, s := range missing {
		packages = append(packages, s.debian)
	}
	restore, err := i.forbidServices()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	if err := i.aptGet(ctx, packages...); err == nil || ctx.Err() != nil {
		return err
	}
	// A list that cannot be had may be of no use to us: whether they serve now, the packages say.
	updated := i.aptGet(ctx, "update", "-q")
	if err := i.aptGet(ctx, packages...); err != nil {
		return errors.Join(updated, err)
	}
	return nil
}

func (i installer) aptGet(ctx context.Context, arguments ...string) error {
	fmt.Fprintf(i.log, "withservers: apt-get %s\n", strings.Join(arguments, " "))
	// Others may be installing, and mirrors are not always there.
	patient := []string{"-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30"}
	cmd := exec.CommandContext(ctx, "apt-get", slices.Concat(patient, arguments)...)
	// RUNLEVEL covers machines where somebody else's policy-rc.d lets services start.
	cmd.Env = append(slices.Clone(i.environ), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
	cmd.Stdout, cmd.Stderr = i.log, i.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w", arguments[0], err)
	}
	return nil
}

// forbidServices keeps the packages from starting their services until the
// returned function is called. A policy that is there already stays.
func (i installer) forbidServices() (restore func() error, err error) {
	file, err := os.OpenFile(i.policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("forbid services to start: %w", err)
	}
	_, err = file.WriteString(noServices)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("forbid services to start: %w", err), os.Remove(i.policy))
	}
	return func() error { return os.Remove(i.policy) }, nil
}
