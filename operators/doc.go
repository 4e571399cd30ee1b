// Package operators decides who may look at a deployment and change it through the dashboard. Operators are people who run it,
// and no users of its app: they have names, not addresses, and nobody becomes one but by another's hand. The package knows no
// page, queue or database: a [Store] keeps the rows.
//
// # Logging in
//
// [Operators.Login] charges the attempt before the password is looked at, as package accounts does, by name and whether or not
// there is such an operator; its one refusal is [ErrRefused]. Who has a second factor, and every admin, gets a session that is good
// for nothing but showing the code ([Session.Complete]). Codes are charged likewise, and each is taken once (RFC 6238, 5.2). An
// admin without a factor is asked to enrol one, and can do nothing before.
//
// # Sessions and keys
//
// A session's token has 256 bits and is stored as its SHA-256. It is a new one after the password and again after the code, so that one
// which somebody planted before is worth nothing. Sessions end when they are not used, after a fixed time whatever is done, and
// with every change of their operator. A [Key] stands in for a session in scripts: it ends by itself, can do no more than
// [RoleOperator], and never more than whose it is.
//
// It refuses to keep a password, a code or a token in clear. The secret of the codes it must keep: who reads the database can make
// codes, and cannot log in without the password.
package operators
