// Package redisacl writes the rules of Redis users that may do what their process does, and nothing else: every command
// that it, asynq and their Lua scripts call, on the keys of its queues. Redis checks what a script calls as if the user
// had called it.
//
// It knows no password, only hashes, and it talks to no Redis. The rules need Redis 7.0, which has selectors.
package redisacl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Role is what a user is for.
type Role string

// The roles.
const (
	// Enqueuer is an app that signs and enqueues. It can read nothing.
	Enqueuer Role = "enqueuer"
	// Worker verifies and runs tasks, and relays the outbox.
	Worker Role = "worker"
	// Dashboard shows queues and tasks, and lets operators run, archive, delete and pause.
	Dashboard Role = "dashboard"
)

// Roles are all of them.
func Roles() []Role { return []Role{Enqueuer, Worker, Dashboard} }

// Config says for what Redis, and for which queues.
type Config struct {
	// Queues that the users may touch.
	Queues []string
	// Prefix of the users' names.
	Prefix string
	// Cluster adds what a client of a cluster asks.
	Cluster bool
	// Select adds SELECT, for another database than 0.
	Select bool
	// Hashes of passwords by role, as Hash makes them. A user without one cannot log in.
	Hashes map[Role]string
}

// User is one user's rules.
type User struct {
	Role  Role     `json:"role"`
	Name  string   `json:"name"`
	Rules []string `json:"rules"`
	// Password is set if it can log in.
	Password bool `json:"password"`
}

// SetUser is the command that makes the user, or makes it anew.
func (u User) SetUser() string { return "ACL SETUSER " + u.line() }

// FileLine is the user's line in an ACL file.
func (u User) FileLine() string { return "user " + u.line() }

func (u User) line() string { return u.Name + " " + strings.Join(u.Rules, " ") }

// ErrInvalidName means that a name cannot stand in a rule.
var ErrInvalidName = errors.New("a rule of Redis cannot name it")

// Users are the users of the roles.
func Users(c Config, roles ...Role) ([]User, error) {
	if len(c.Queues) == 0 {
		return nil, errors.New("redis users: there are no queues")
	}
	for _, name := range append([]string{c.Prefix}, c.Queues...) {
		if err := checkName(name); err != nil {
			return nil, err
		}
	}
	var users []User
	for _, role := range roles {
		u := User{Role: role, Name: c.Prefix + string(role), Rules: []string{"reset", "on"}}
		if hash := c.Hashes[role]; hash != "" {
			u.Rules, u.Password = append(u.Rules, "#"+hash), true
		}
		switch role {
		case Enqueuer:
			u.Rules = append(u.Rules, c.enqueuer()...)
		case Worker:
			u.Rules = append(u.Rules, c.worker()...)
		case Dashboard:
			u.Rules = append(u.Rules, c.dashboard()...)
		default:
			return nil, fmt.Errorf("redis users: there is no role %q", role)
		}
		users = append(users, u)
	}
	return users, nil
}

// checkName refuses what ends a rule, or a quotation on a command line, and braces, which end a hash tag.
func checkName(name string) error {
	bad := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`"'{}()`, r)
	}
	if strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%w: %q contains a space, a quotation mark, a bracket or a control character", ErrInvalidName, name)
	}
	return nil
}

// ofQueues are the key patterns of what stands in the queues.
func (c Config) ofQueues(permission string, parts ...string) []string {
	var patterns []string
	for _, queue := range c.Queues {
		for _, part := range parts {
			patterns = append(patterns, permission+"asynq:{"+escape(queue)+"}:"+part)
		}
	}
	return patterns
}

// escape makes the name match nothing but itself in a pattern.
func escape(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(name)
}

const (
	readWrite = "~"
	writeOnly = "%W~"
)

// connection is what every client may ask. HELLO, AUTH and QUIT are open to all.
func (c Config) connection() []string {
	rules := []string{"+ping"}
	if c.Select {
		rules = append(rules, "+select")
	}
	if c.Cluster {
		rules = append(rules, "+cluster|slots", "+command", "+asking")
	}
	return rules
}

// scripts are called with keys that Redis takes for read and written, whatever the script does with them.
func scripts() []string { return []string{"+evalsha", "+eval"} }

// enqueuer may call scripts on what it writes, but each command in them has its own keys alone: nothing reads, and SET,
// which could with GET, or could replace a task, is for unique locks.
func (c Config) enqueuer() []string {
	return join(
		c.connection(),
		c.ofQueues(readWrite, "t:*", "pending", "scheduled", "unique:*"), scripts(), []string{"+exists"},
		selector(c.ofQueues(writeOnly, "t:*"), "+hset"),
		selector(c.ofQueues(writeOnly, "pending"), "+lpush"),
		selector(c.ofQueues(writeOnly, "scheduled"), "+zadd"),
		selector(c.ofQueues(writeOnly, "unique:*"), "+set"),
		announcing(),
	)
}

// What a worker calls, beside what every client does.
const (
	workerInQueues = "del exists expireat get hdel hexists hget hmget hset incr llen lpos lpush lrange lrem rpoplpush rpush set strlen time type " +
		"unlink zadd zcount zrange zrangebyscore zrem zremrangebyscore zscore"
	workerOnSets      = "type unlink"
	workerOnProcesses = "del expire hset setex type unlink zadd zrem"
	cancellations     = "asynq:cancel"
)

// worker is a server of asynq's, a relay that enqueues and a reconciler that looks tasks up, and the janitor, which looks at
// every key and takes away what is of the wrong type.
func (c Config) worker() []string {
	return join(
		c.connection(),
		c.ofQueues(readWrite, "*"), scripts(), commands(workerInQueues),
		announcing(),
		selector([]string{"~asynq:queues", "~asynq:schedulers"}, join(scripts(), commands(workerOnSets))...),
		selector(processKeys(), join(scripts(), commands(workerOnProcesses))...),
		[]string{"&" + cancellations, "+subscribe"},
	)
}

// dashboard is asynq's Inspector without what removes a queue, the listing and lookup of tasks as they lie in Redis, and the doctor. The
// search for tasks that no list holds scans: it sees the names of the server's other keys, and not what they hold.
func (c Config) dashboard() []string {
	return join(
		c.connection(),
		c.ofQueues(readWrite, "*"), scripts(),
		commands("del exists get hexists hget hmget hset hstrlen lindex llen lpos lpush lrange lrem memory|usage scan scard smembers srem sscan time type",
			"zadd zcard zrange zrangebyscore zrem zremrangebyrank zremrangebyscore zscore"),
		selector(c.ofQueues(writeOnly, "paused"), "+set"),
		selector([]string{"~asynq:queues"}, join(scripts(), commands("sismember smembers sscan type"))...),
		selector(processKeys(), join(scripts(), commands("get hvals zrangebyscore zremrangebyscore"))...),
		[]string{"&" + cancellations, "+publish"}, // which asks the worker of a task to end it, and no more
	)
}

// processKeys are where asynq's servers say that they live, and what they run.
func processKeys() []string {
	return []string{"~asynq:servers", "~asynq:servers:*", "~asynq:workers", "~asynq:workers:*"}
}

// announcing is for the set of all queues' names. Who adds to it need not read it.
func announcing() []string { return selector([]string{writeOnly + "asynq:queues"}, "+sadd") }

// selector is a set of rules of its own: what it allows it allows on its keys alone.
func selector(keys []string, rules ...string) []string {
	return []string{"(" + strings.Join(append(slices.Clone(keys), rules...), " ") + ")"}
}

func commands(lines ...string) []string {
	var rules []string
	for name := range strings.FieldsSeq(strings.Join(lines, " ")) {
		rules = append(rules, "+"+name)
	}
	return rules
}

func join(parts ...[]string) []string { return slices.Concat(parts...) }
