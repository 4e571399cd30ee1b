package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
)

// aclFlags are what `sealq redis-acl` takes beside its options.
type aclFlags struct {
	prefix, format string
	passwords      []string // ROLE=PATH
}

func (p *program) redisACL() *cobra.Command {
	var f aclFlags
	c := uses(&cobra.Command{
		Use: "redis-acl [ROLE…]", Short: "Print Redis users that may do what is needed, and nothing else",
		Long: "Print Redis users (7.0 or later) that may do what their process does, and nothing else: enqueuer, worker and\n" +
			"dashboard, or the roles that are named. They fit --queues, of which the workers' must be all that the outbox uses,\n" +
			"and --redis-url: a cluster, or another database than 0, takes a little more. Nothing is connected to. Passwords are\n" +
			"printed as hashes; a user without one cannot log in.",
		Example: "  sealq redis-acl --password-file worker=worker.password | redis-cli\n" +
			"  sealq redis-acl enqueuer --queues mail=1 --format aclfile",
		Args: cobra.ArbitraryArgs,
		RunE: p.action(func(_ context.Context, s *session, args []string) error { return s.redisACL(args, f) }),
	}, "redis-url", "queues")
	c.Flags().StringVar(&f.prefix, "prefix", "sealq-", "what the users' names begin with")
	c.Flags().StringVar(&f.format, "format", "setuser", "setuser: commands; aclfile: lines for Redis's ACL `file`")
	c.Flags().StringArrayVar(&f.passwords, "password-file", nil, "`ROLE=PATH`: a file with that user's password; once for each")
	return c
}

func (s *session) redisACL(args []string, f aclFlags) error {
	roles, err := rolesOf(args)
	if err != nil {
		return err
	}
	line := redisacl.User.SetUser
	switch f.format {
	case "setuser":
	case "aclfile":
		line = redisacl.User.FileLine
	default:
		return wrongly("--format %q is not setuser or aclfile", f.format)
	}
	c := redisacl.Config{Prefix: f.prefix}
	if c.Hashes, err = hashes(f.passwords, roles); err != nil {
		return err
	}
	server, err := s.redis()
	if err != nil {
		return err
	}
	c.Cluster, c.Select = server.Cluster, server.DB != 0
	queues, err := s.Weights("queues")
	if err != nil {
		return err
	}
	c.Queues = slices.Sorted(maps.Keys(queues))
	users, err := redisacl.Users(c, roles...)
	if err != nil {
		return wrongly("%w", err)
	}
	if s.json {
		return s.printJSON(users)
	}
	var locked []string
	for _, u := range users {
		fmt.Fprintln(s.stdout, line(u))
		if !u.Password {
			locked = append(locked, u.Name)
		}
	}
	if len(locked) > 0 {
		fmt.Fprintf(s.stderr, "sealq: without a password nobody can log in as %s: give --password-file ROLE=PATH\n", strings.Join(locked, ", "))
	}
	return nil
}

// rolesOf are the roles that are named, or all of them.
func rolesOf(args []string) ([]redisacl.Role, error) {
	if len(args) == 0 {
		return redisacl.Roles(), nil
	}
	var roles []redisacl.Role
	for _, arg := range args {
		role := redisacl.Role(arg)
		if !slices.Contains(redisacl.Roles(), role) {
			return nil, wrongly("ROLE %q is not enqueuer, worker or dashboard", arg)
		}
		if slices.Contains(roles, role) {
			return nil, wrongly("ROLE %s is named twice", arg)
		}
		roles = append(roles, role)
	}
	return roles, nil
}

// hashes reads the passwords.
func hashes(files []string, roles []redisacl.Role) (map[redisacl.Role]string, error) {
	all := make(map[redisacl.Role]string)
	for _, file := range files {
		name, path, ok := strings.Cut(file, "=")
		role := redisacl.Role(name)
		switch {
		case !ok || path == "":
			return nil, wrongly("--password-file is not ROLE=PATH, such as worker=worker.password")
		case !slices.Contains(roles, role):
			return nil, wrongly("--password-file is for %q, which is none of the roles here", name)
		case all[role] != "":
			return nil, wrongly("--password-file is given twice for %s", name)
		}
		hash, err := redisacl.HashFile(path)
		if cause, unread := errors.AsType[*fs.PathError](err); unread {
			return nil, wrongly("--password-file %s cannot be read: %w", path, cause.Err)
		}
		if errors.Is(err, redisacl.ErrShortPassword) {
			return nil, wrongly("--password-file %s: %w: make one with `openssl rand -hex 32`", path, err)
		}
		if err != nil {
			return nil, wrongly("--password-file %s: %w", path, err)
		}
		all[role] = hash
	}
	return all, nil
}
