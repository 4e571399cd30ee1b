package calm

import (
	"errors"
	"strings"
)

// script is what one of asynq's Lua scripts does.
type script int

const (
	other       script = iota
	dequeue            // fetches a task
	finish             // the task leaves Redis
	finishWrite        // the task is kept with another message: completed, to be retried, archived
	requeue            // the task goes back
	enqueue
	housekeep // what one server of a process does for all
	beat      // a server's state, and its running tasks
	taking    // our own dequeue
)

// asynqScripts are those of asynq v0.26.0's scripts (internal/rdb/rdb.go) that matter here, by their SHA-1. A test holds
// them to the source of the asynq in use.
func asynqScripts() map[string]script {
	return map[string]script{
		shaDequeue:        dequeue,
		shaOf(takeScript): taking,
		"1241eaa1c73409baaf1fea0c08d203a4911bda15": finish,      // done
		"a2631c71357a54b4c3e7450b1757e7f3f49d6c81": finish,      // doneUnique
		"117dca952700588e559c7ace20b925096d587974": finishWrite, // markAsComplete
		"ce6833ccce362a8c0ee53beee413341daf52e39c": finishWrite, // markAsCompleteUnique
		"65fa409c88198a681c53e0892d8276eca0145694": finishWrite, // retry
		"9c3b1eb9947ce2ee5304ac013a0a365ec364fd2d": finishWrite, // archive
		"f34cbfd11d1fc8019af55b50c447fc68eb8b29e5": requeue,
		"98d28b42650870a743450ffda9791e9e19c6991b": enqueue,
		"297b3f9abfd963a3316434ef9d88fc5bf8a7ddc3": enqueue,   // enqueueUnique
		"8ce6b38a99b73194585c251eb3c2a89559f37a87": enqueue,   // schedule
		"e9b8aa859a976a1fce09eaf723b4fccd02ba799e": enqueue,   // scheduleUnique
		"074af2c5a4623800684c1b0e4e328c2500f06815": enqueue,   // addToGroup
		"deeb77b98fd021a8a0279d8e7dd11a8a4546611a": enqueue,   // addToGroupUnique
		"522b1a6ae66fe79ea2f24a9af58798ab71879035": housekeep, // forward
		"49c4326d80c1db9c476da2aa7f4438d03688f82b": housekeep, // deleteExpiredCompletedTasks
		"3c8548ad44d0dfcfde50f07ea9271d77f656042c": beat,      // writeServerState
	}
}

const shaDequeue = "a8153319360adc71cdc370107f8ab9786f204765"

// ErrUnknownDequeue means that asynq fetches tasks in a way that this package does not know, so that nobody would check
// what it fetches.
var ErrUnknownDequeue = errors.New("calm: this version of asynq fetches tasks by a script that is not known here: nothing is fetched; " +
	"use the version of asynq that sealq's go.mod names, or a newer sealq")

// call is one of asynq's scripts with its keys and arguments.
type call struct {
	script script
	keys   []string
	args   []any
}

// callOf reads an EVALSHA or EVAL. It says false of any other command.
func (h *Hook) callOf(args []any) (call, bool) {
	const count, first = 2, 3
	if len(args) < first {
		return call{}, false
	}
	name, _ := args[0].(string)
	sha, _ := args[1].(string)
	n, ok := args[count].(int)
	if !ok || n < 0 || len(args) < first+n || name != "evalsha" && name != "eval" {
		return call{}, false
	}
	c := call{script: h.scripts[sha], args: args[first+n:]}
	if name == "eval" { // after NOSCRIPT: by its text
		c.script = h.scripts[shaOf(sha)]
	}
	c.keys = make([]string, n)
	for i := range n {
		if c.keys[i], ok = args[first+i].(string); !ok {
			return call{}, false
		}
	}
	return c, true
}

// queueOf is the queue that one of asynq's keys belongs to.
func queueOf(key string) string {
	rest, ok := strings.CutPrefix(key, "asynq:{")
	if !ok {
		return ""
	}
	queue, _, ok := strings.Cut(rest, "}")
	if !ok {
		return ""
	}
	return queue
}

// looksLikeDequeue recognises whatever takes a task out of a queue by its keys.
func looksLikeDequeue(keys []string) bool {
	return len(keys) == 4 && strings.HasSuffix(keys[0], "}:pending") && strings.HasSuffix(keys[1], "}:paused") &&
		strings.HasSuffix(keys[2], "}:active") && strings.HasSuffix(keys[3], "}:lease")
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}
