// Package runbooks holds what to do when something is wrong, for the dashboard: whoever is woken at night may have nothing else open.
package runbooks

import "embed"

// Files are the runbooks, in Markdown.
//
//go:embed *.md
var Files embed.FS
