// Package authjobs names the background jobs of an application's authentication: which kinds there are, what
// they carry and how they are run. No payload holds a token, an address or a password. The package sends no
// mail and changes no account; package worker/authworker does.
package authjobs
