package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheGuideShowsWhatRedisACLPrints(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	const command = "`sealq redis-acl --queues mail=1` prints:\n\n```\n"
	_, after, found := strings.Cut(string(guide), command)
	if !found {
		t.Fatalf("the guide has no %q", command)
	}
	shown, _, _ := strings.Cut(after, "```")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"redis-acl", "--queues", "mail=1"}, strings.NewReader(""), &stdout, &stderr, nil); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if diff := cmp.Diff(stdout.String(), shown); diff != "" {
		t.Errorf("the guide (-printed +shown):\n%s", diff)
	}
}
