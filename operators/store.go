package operators

import (
	"context"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
)

// Store is all that operators asks of a database.
//
// What holds for every method: the database's clock decides what is over; nothing is written where an error of this package is returned;
// what is passed an entry writes it in the transaction of its change, and not where nothing changed; any other error carries no
// secret.
type Store interface {
	OperatorStore
	AttemptStore
	SessionStore
	FactorStore
	KeyStore
}

// OperatorStore keeps the operators.
type OperatorStore interface {
	// SaveOperator writes a new one. ErrNameTaken: there is one of that name, disabled or not.
	SaveOperator(ctx context.Context, n NewOperator, e audit.Entry) error
	// FindOperator returns what a login needs, or ErrNoSuchOperator.
	FindOperator(ctx context.Context, name string) (Credentials, error)
	// Operators lists all, by the bytes of their names.
	Operators(ctx context.Context) ([]Operator, error)
	// ChangeOperator changes one, and says whether it was a change. One that was ends all sessions of the operator, revokes his keys where
	// c.EndsKeys says so, and clears the counters of c.Clears. ErrNoSuchOperator.
	ChangeOperator(ctx context.Context, name string, c Change, e audit.Entry) (changed bool, err error)
}

// AttemptStore counts attempts: see [accounts.LoginStore].
type AttemptStore interface {
	ChargeAttempt(ctx context.Context, identifier string, l accounts.Lockout) (accounts.Charge, error)
}

// SessionStore keeps the sessions.
type SessionStore interface {
	// SaveOperatorSession writes a session of an operator who is not disabled, and in the same transaction deletes the one that it replaces, sets
	// the time of the last login where it is complete, deletes the counters of s.Clears, and deletes sessions of anybody that are over.
	// ErrNoSession, and nothing is written: the operator is unknown, disabled or has another password than s.Verified, or the session that it
	// replaces is not there.
	SaveOperatorSession(ctx context.Context, s NewSession, e audit.Entry) error
	// UseOperatorSession returns a session of an operator who is not disabled, that is not at its end and was seen less than idle ago, or
	// ErrNoSession. touch: it is seen now; the time may be written up to 30 s late.
	UseOperatorSession(ctx context.Context, token [32]byte, idle time.Duration, touch bool) (Session, error)
	// OperatorSessions lists those of one operator that are not at their end, the newest first.
	OperatorSessions(ctx context.Context, operatorID string) ([]Session, error)
	// EndOperatorSession deletes one of the operator's, and says whether there was one.
	EndOperatorSession(ctx context.Context, operatorID, id string) (ended bool, err error)
}

// FactorStore keeps what makes codes.
type FactorStore interface {
	// ProposeFactor gives the session a secret to show if it has none, and returns the one that it has. ErrNoSession.
	ProposeFactor(ctx context.Context, token [32]byte, secret []byte) (proposed []byte, err error)
	// SaveFactor makes the secret that the session was shown its operator's, with these recovery codes, and ends his other sessions. ErrNoSession:
	// the session or its secret is not there. ErrEnrolled: the operator has a factor.
	SaveFactor(ctx context.Context, token [32]byte, step int64, codes [][32]byte, e audit.Entry) error
	// FactorSecret returns the secret of an operator's codes, or ErrNoFactor.
	FactorSecret(ctx context.Context, operatorID string) (secret []byte, err error)
	// UseStep says whether step is later than that of every code that was taken, and takes it. Of racers one takes it.
	UseStep(ctx context.Context, operatorID string, step int64) (taken bool, err error)
	// UseRecoveryCode deletes the code, and says whether there was one and how many are left.
	UseRecoveryCode(ctx context.Context, operatorID string, code [32]byte, e audit.Entry) (taken bool, left int, err error)
}

// EndedKeysKept is how long a key of scripts that has ended is there to be looked up, whether it was revoked or came to its end.
const EndedKeysKept = 90 * 24 * time.Hour

// KeyStore keeps the keys of scripts.
type KeyStore interface {
	// SaveAPIKey writes one, and in the same transaction deletes those of anybody that ended EndedKeysKept ago or earlier: none come to be without it, so
	// none pile up. ErrNoSuchOperator: its operator is unknown or disabled.
	SaveAPIKey(ctx context.Context, k NewKey, e audit.Entry) error
	// UseAPIKey returns a key that is neither revoked nor at its end, whose operator is not disabled, and notes that it was used, up to a
	// minute late. ErrNoKey.
	UseAPIKey(ctx context.Context, hash [32]byte) (Key, error)
	// APIKeys lists those that are not revoked, the newest first.
	APIKeys(ctx context.Context) ([]Key, error)
	// RevokeAPIKey revokes one, and says whether there was one that was not.
	RevokeAPIKey(ctx context.Context, id string, e audit.Entry) (revoked bool, err error)
}

// Operator is one who operates the deployment.
type Operator struct {
	ID         string
	Name       string
	Role       Role
	Disabled   bool
	Factor     bool // he has one
	CreatedAt  time.Time
	LoggedInAt *time.Time // the last time; nil: never
}

// Credentials are an operator with what proves his password.
type Credentials struct {
	Operator
	PasswordHash accounts.PasswordHash
}

// NewOperator is one to be written.
type NewOperator struct {
	ID           string // a UUID
	Name         string
	PasswordHash accounts.PasswordHash
	Role         Role
}

// Change is what to change of an operator. What is zero stays.
type Change struct {
	Role         Role
	Disabled     *bool
	PasswordHash accounts.PasswordHash
	DropFactor   bool // with the recovery codes
	Clears       []string
}

// NewSession is one to be written.
type NewSession struct {
	ID         string // a UUID
	Token      [32]byte
	OperatorID string
	Verified   accounts.PasswordHash // the operator has it still; zero: whatever he has
	Complete   bool
	Replaces   *[32]byte // nil: none
	Life       time.Duration
	Clears     []string // identifiers of counters
	From       From
}

// From is where somebody logs in from, for people who look at sessions.
type From struct{ Agent, Remote string }

// Session is who is logged in.
type Session struct {
	ID         string
	OperatorID string
	Name       string
	Role       Role
	Factor     bool // the operator has one
	Complete   bool // false: it is good for showing the code alone
	CreatedAt  time.Time
	SeenAt     time.Time
	ExpiresAt  time.Time
	From       From
}

// NewKey is a key to be written.
type NewKey struct {
	ID         string // a UUID
	Hash       [32]byte
	OperatorID string
	Name       string
	Role       Role // RoleViewer or RoleOperator
	Life       time.Duration
}

// Key stands in for a session in scripts.
type Key struct {
	ID         string
	OperatorID string
	Operator   string // his name
	Name       string // what it is for
	Role       Role   // of the key; never more than the operator's is as UseAPIKey returns it
	CreatedAt  time.Time
	ExpiresAt  time.Time
	UsedAt     *time.Time // nil: never
}

// Changes says whether c changes o.
func (c Change) Changes(o Operator) bool {
	return c.DropFactor || !c.PasswordHash.IsZero() || c.Role != "" && c.Role != o.Role || c.Disabled != nil && *c.Disabled != o.Disabled
}

// EndsKeys says whether c ends the operator's keys: they were made by a session, and whoever stole one may have made some.
func (c Change) EndsKeys() bool {
	return c.DropFactor || !c.PasswordHash.IsZero() || c.Disabled != nil && *c.Disabled
}
