// Package browser drives the app of examples/signup in a Chromium, in a module of its own, so that nothing that drives a browser enters the
// application's go.mod. It holds tests alone.
package browser
