package operators

import "errors"

// Role is what an operator may do.
type Role string

// The roles. Each may all that the one before it may.
const (
	RoleViewer   Role = "viewer"   // looks
	RoleOperator Role = "operator" // … and does to tasks, schedules and accounts what can be done
	RoleAdmin    Role = "admin"    // … and says who may, and what signs
)

// Roles lists them, the least first.
func Roles() []Role { return []Role{RoleViewer, RoleOperator, RoleAdmin} }

// rank is 0 for what is no role.
func (r Role) rank() int {
	for i, role := range Roles() {
		if r == role {
			return i + 1
		}
	}
	return 0
}

// May says whether r is least or more. What is no role may nothing, and nothing may do what wants no role that there is.
func (r Role) May(least Role) bool {
	return r.rank() > 0 && least.rank() > 0 && r.rank() >= least.rank()
}

// Lesser is the one of both that may less.
func Lesser(a, b Role) Role {
	if a.rank() < b.rank() {
		return a
	}
	return b
}

// The errors of this package.
var (
	// ErrRefused is the one answer to a wrong name, password or code, to a disabled operator, and to one who is locked.
	ErrRefused = errors.New("name, password or code is wrong, or too many attempts failed: try again later")
	// ErrNameTaken means that there is an operator of that name.
	ErrNameTaken = errors.New("there is an operator of that name")
	// ErrNoSuchOperator means that nobody has the name.
	ErrNoSuchOperator = errors.New("there is no such operator")
	// ErrNoSession means that nobody is logged in: no token, or one that is over.
	ErrNoSession = errors.New("nobody is logged in: the session has ended, or never was")
	// ErrEnrolled means that the operator has a second factor.
	ErrEnrolled = errors.New("the operator has a second factor already")
	// ErrNoFactor means that he has none.
	ErrNoFactor = errors.New("the operator has no second factor")
	// ErrNoKey means that a key is unknown, revoked or at its end.
	ErrNoKey = errors.New("the key is unknown, revoked or at its end")
	// ErrInvalidName refuses a name.
	ErrInvalidName = errors.New("an operator's name has 1 to 64 lower-case letters, digits and . _ - @ +, and begins with a letter or a digit")
	// ErrInvalidRole refuses a role.
	ErrInvalidRole = errors.New("a role is viewer, operator or admin")
	// ErrNoActor means that a change does not say by whom.
	ErrNoActor = errors.New("a change of an operator needs the name of whoever makes it")
	// ErrInvalidKey refuses what a key is to be.
	ErrInvalidKey = errors.New("a key has a name of 1 to 64 printable characters, the role viewer or operator, and a life of a minute to a year")
)
