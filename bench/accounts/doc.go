// Package accounts compares logging in with the bare password hash, and floods an identifier that is locked. PostgreSQL is real; both sides hash the same
// password with the same parameters, as many at once. Run it with:
//
//	withservers go test -run '^$' -bench Table -benchtime 1x ./accounts
package accounts
