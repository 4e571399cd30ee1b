package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sealq/sealq/internal/testservers"
)

// TestWhoeverMayNotMeasureIsToldWhichRightIsMissing takes the user's rules out of docs/bench.md.
func TestWhoeverMayNotMeasureIsToldWhichRightIsMissing(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`(?m)^ACL SETUSER sealq-bench (.+)$`).FindStringSubmatch(string(docs))
	if rules == nil {
		t.Fatal("docs/bench.md has no ACL SETUSER sealq-bench")
	}
	const password = "a password for one test"
	for name, test := range map[string]struct{ without, want string }{
		"nothing is missing":          {"", ""},
		"one of the queue's commands": {" +rpoplpush", "may not call RPOPLPUSH for queue sealq-bench-"},
		"removing the queue's name":   {" +srem", "may not call SREM for queue sealq-bench-"},
		"telling that a worker lives": {" +setex", "may not call SETEX for queue sealq-bench-"},
		"hearing cancellations":       {" &asynq:cancel", "may not call SUBSCRIBE for queue sealq-bench-"},
		"the queue's keys":            {" ~asynq:{sealq-bench-*}:*", "permissions to access"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin"})
			admin := top.Admins()[0]
			left := strings.Replace(rules[1], test.without, "", 1)
			if test.without != "" && left == rules[1] {
				t.Fatalf("the rules have no %q", test.without)
			}
			command := []any{"ACL", "SETUSER", "sealq-bench"}
			for _, rule := range regexp.MustCompile(`\([^)]*\)|\S+`).FindAllString(left, -1) { // a selector is one
				command = append(command, strings.ReplaceAll(rule, "PASSWORD", password))
			}
			if err := admin.Do(t.Context(), command...).Err(); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr strings.Builder
			args := []string{"bench", "--jobs", "20", "--redis-url", top.URLAs("sealq-bench", password)}
			code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr, nil)
			switch {
			case test.want == "" && (code != exitDone || !strings.Contains(stdout.String(), "work")):
				t.Errorf("exit code %d: %s", code, &stderr)
			case test.want != "" && (code != exitFailed || stdout.Len() > 0 || !strings.Contains(stderr.String(), test.want) ||
				!strings.Contains(stderr.String(), "docs/bench.md has a Redis user for it")):
				t.Errorf("exit code %d, want it told: %s; got %s", code, test.want, &stderr)
			}
			if test.want == "" {
				if denied, err := admin.ACLLog(t.Context(), 10).Result(); err != nil || len(denied) > 0 {
					t.Errorf("it was denied %+v, %v", denied, err)
				}
			}
			if keys, err := admin.Keys(t.Context(), "*").Result(); err != nil || len(keys) > 0 {
				t.Errorf("Redis holds %q, %v", keys, err)
			}
		})
	}
}
