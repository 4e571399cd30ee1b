// Package app wires sealq's packages into the parts that the binary runs: a database, accounts in it, a worker
// with its relay, a scheduler. It hides which driver a database has, and so what a transaction is. It decides
// nothing: what is decided here belongs into the package that it is about.
package app
