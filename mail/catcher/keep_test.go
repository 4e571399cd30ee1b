package catcher_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/mail/catcher"
)

func TestOnlyTheNewestAreKept(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Options{Keep: 2})
	for i := range 4 {
		if err := send(c, fmt.Sprintf("%d@example.org", i), raw("x", "y")); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, mail := range c.Messages() {
		got = append(got, mail.To...)
	}
	if diff := cmp.Diff([]string{"2@example.org", "3@example.org"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBytesAreBoundedToo(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Options{KeepBytes: 700_000}) // each takes some 300,000: its bytes, its header and its text
	for i := range 4 {
		if err := send(c, fmt.Sprintf("%d@example.org", i), raw("x", strings.Repeat(strings.Repeat("y", 99)+"\n", 1000))); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	for _, mail := range c.Messages() {
		got = append(got, mail.ID)
	}
	if diff := cmp.Diff([]uint64{3, 4}, got); diff != "" {
		t.Error(diff)
	}
	if err := send(c, "big@example.org", raw("x", strings.Repeat(strings.Repeat("y", 99)+"\n", 10_000))); err != nil {
		t.Fatal(err)
	}
	if got := c.Messages(); len(got) != 1 || got[0].To[0] != "big@example.org" {
		t.Errorf("want the newest, whatever its size, and got %d mails", len(got))
	}
}

func TestForgottenMailsAreGoneAndTheirNumbersToo(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Options{})
	for range 2 {
		if err := send(c, "ann@example.org", raw("x", "y")); err != nil {
			t.Fatal(err)
		}
	}
	c.Forget()
	if got := c.Messages(); len(got) != 0 {
		t.Errorf("%d mails are left", len(got))
	}
	if err := send(c, "ann@example.org", raw("x", "y")); err != nil {
		t.Fatal(err)
	}
	if got := c.Messages(); len(got) != 1 || got[0].ID != 3 {
		t.Errorf("want mail 3 alone, got %d mails", len(got))
	}
}
