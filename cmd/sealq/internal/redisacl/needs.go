package redisacl

import (
	"slices"
	"strings"
)

// WorkerNeeds are the commands that a worker's user must be allowed to call for one queue, each with its keys: something to
// check a user by, not to call.
func WorkerNeeds(queue string) [][]string {
	var needs [][]string
	add := func(names string, keys ...string) {
		for name := range strings.FieldsSeq(names) {
			switch name {
			case "time": // it has no key
				needs = append(needs, []string{name})
			case "rpoplpush":
				needs = append(needs, []string{name, keys[0], keys[0]})
			default:
				needs = append(needs, append([]string{name}, keys...))
			}
		}
	}
	add(workerInQueues, "asynq:{"+queue+"}:pending")
	add("sadd "+workerOnSets, "asynq:queues")
	add(workerOnSets, "asynq:schedulers")
	for _, keys := range []string{"asynq:servers", "asynq:workers"} {
		add(workerOnProcesses, keys)
		add(workerOnProcesses, keys+":{host:1:id}")
	}
	add("subscribe", cancellations)
	return needs
}

// BenchNeeds are those of `sealq bench` for its queue: it runs a worker without a janitor, and takes the queue's name out of the
// list again.
func BenchNeeds(queue string) [][]string {
	needs := slices.DeleteFunc(WorkerNeeds(queue), func(command []string) bool {
		janitors := command[0] == "type" || command[0] == "unlink"
		return janitors && !strings.HasPrefix(command[1], "asynq:{"+queue+"}:")
	})
	return append(needs, []string{"sismember", "asynq:queues"}, []string{"srem", "asynq:queues"})
}
