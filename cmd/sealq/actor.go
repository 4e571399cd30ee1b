package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
)

// actor is who runs this command, for the audit log: the user of the process, and not what the environment says.
func actor() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return "cli:uid " + strconv.Itoa(os.Getuid())
}

// linkAudit links what the command has just written. If it fails, a worker or a scheduler does it.
func (s *session) linkAudit(ctx context.Context, db app.Database) {
	if err := app.LinkAudit(ctx, db); err != nil {
		fmt.Fprintln(s.stderr, "sealq: warning: what was done is recorded, and not linked in the audit log yet:", sentence(err))
	}
}
