// Package instance runs one real Redis or PostgreSQL process in a folder of
// its own, on a free port of the loopback interface, and takes both away again.
// It installs nothing, it never touches a server that it did not start, and it
// knows neither a test nor any package of sealq.
package instance
