package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sealq/sealq/cmd/sealq/internal/redisacl"
	"github.com/sealq/sealq/internal/testservers"
)

// Of several queues a Redis user may be allowed to see some. Those are shown, and of the others it is said.
func TestTasksAreCountedAsFarAsTheUserMaySee(t *testing.T) {
	t.Parallel()
	top := testservers.SingleRedis(t, testservers.RedisOptions{Password: "admin"})
	const password = "apasswordforonetest"
	hash, err := redisacl.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []redisacl.Role{redisacl.Dashboard, redisacl.Enqueuer} {
		users, err := redisacl.Users(redisacl.Config{Queues: []string{"mail"}, Prefix: "sealq-", Hashes: map[redisacl.Role]string{role: hash}}, role)
		if err != nil {
			t.Fatal(err)
		}
		var command []any
		for word := range strings.FieldsSeq(users[0].SetUser()) {
			command = append(command, word)
		}
		if err := top.Admins()[0].Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for sentence, test := range map[string]struct {
		user           string
		code           int
		stdout, stderr string
	}{
		"one queue of four": {"sealq-dashboard", exitDone, "mail   0", "sealq: warning: this Redis user may not look at critical, default, maintenance: give it what `sealq redis-acl dashboard` prints"},
		"none of them":      {"sealq-enqueuer", exitFailed, "", "sealq: this Redis user may not look at critical, default, mail, maintenance: give it what"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), []string{"tasks", "list", "--redis-url", top.URLAs(test.user, password)}, strings.NewReader(""), &stdout, &stderr, nil)
			if code != test.code || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("exit code %d\n%s\n%s", code, stdout.String(), stderr.String())
			}
		})
	}
}
