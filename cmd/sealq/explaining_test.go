package main

import (
	"strings"
	"testing"

	"github.com/sealq/sealq/accounts"
)

func TestExplainingOnesMail(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	n.denied.Store(true)
	users, err := n.db.Accounts(accounts.Config{})
	n.check(err)
	_, err = users.Register(t.Context(), accounts.Registration{Email: ada, Password: "correct horse battery staple"}) // as an app does
	n.check(err)
	n.archived()
	n.denied.Store(false)
	n.follow("../explain.md", nil)
	n.sealq("", "accounts", "activate", n.key(ada, 1))
	if told := n.sealq("", "explain", ada); !strings.Contains(told, " activated ") || !strings.HasSuffix(told, "missing: nothing\n") {
		t.Errorf("of an active account:\n%s", told)
	}
}
