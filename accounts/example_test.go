package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sealq/sealq/accounts"
)

// exampleAccounts stands for accounts.New(db, outbox, accounts.Config{}) over a real driver.
func exampleAccounts() (*accounts.Accounts[*modelTx], *model) {
	db := newModel()
	a, err := accounts.New(db, db, accounts.Config{Hash: cheap, Now: db.Now})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return a, db
}

func ExampleNew() {
	db := newModel() // a driver of store, in an application
	_, err := accounts.New(db, db, accounts.Config{
		PendingTTL: 48 * time.Hour,
		Lockout:    accounts.Lockout{Limit: 10, For: time.Hour},
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleAccounts_Register() {
	a, db := exampleAccounts()
	ctx, tx := context.Background(), db.begin()

	p, err := a.Register(ctx, tx, accounts.Registration{Email: "Jane@example.com", Password: "Violets-are-9-blue"})
	fmt.Println(p.Email, p.Generation, p.ExpiresAt, err)

	// An app answers the public alike for each of these.
	_, err = a.Register(ctx, tx, accounts.Registration{Email: "jane@example.com", Password: "Violets-are-9-blue"})
	fmt.Println(errors.Is(err, accounts.ErrPending))
	_, err = a.Register(ctx, tx, accounts.Registration{Email: "joe@example.com", Password: "password123"})
	fmt.Println(err)
	// Output:
	// Jane@example.com 1 2026-05-05 12:00:00 +0000 UTC <nil>
	// true
	// register: not a password that can be used: it is among the passwords that are guessed first
}

// What takes time is done before the transaction, which in SQLite keeps all other writers waiting.
func ExampleAccounts_PrepareRegistration() {
	a, db := exampleAccounts()
	ctx := context.Background()
	registration, err := a.PrepareRegistration(ctx, accounts.Registration{Email: "jane@example.com", Password: "Violets-are-9-blue"})
	if err != nil {
		fmt.Println(err)
		return
	}
	tx := db.begin()
	p, err := a.Register(ctx, tx, registration)
	fmt.Println(p.Email, err)
	// Output: jane@example.com <nil>
}

func ExampleAccounts_Activate() {
	a, db := exampleAccounts()
	_, err := a.Activate(context.Background(), db.begin(), strings.Repeat("A", 43))
	fmt.Println(err)
	// Output: activate: this activation key is not valid (any more): register again for a new one
}

// Who registers an address need not be who has it. So the password comes with the link, and is that of the mailbox's owner.
func ExampleAccounts_ActivateWithPassword() {
	a, db := exampleAccounts()
	ctx := context.Background()
	p, err := a.Register(ctx, db.begin(), accounts.Registration{Email: "jane@example.com", PasswordLater: true})
	fmt.Println(p.Generation, err)

	key := db.confirmation("jane@example.com") // a worker mails it
	_, err = a.ActivateWithPassword(ctx, db.begin(), key, "password123")
	fmt.Println(err) // the form again: the key is good still
	user, err := a.ActivateWithPassword(ctx, db.begin(), key, "Violets-are-9-blue")
	fmt.Println(user.Email, err)
	// Output:
	// 1 <nil>
	// activate: not a password that can be used: it is among the passwords that are guessed first
	// jane@example.com <nil>
}

// An app that asks for the password when somebody registers asks for it again behind the link: it may be a stranger's.
func ExampleAccounts_ActivateProving() {
	a, db := exampleAccounts()
	ctx := context.Background()
	if _, err := a.Register(ctx, db.begin(), accounts.Registration{Email: "jane@example.com", Password: "Violets-are-9-blue"}); err != nil {
		fmt.Println(err)
	}
	key := db.confirmation("jane@example.com") // a worker mails it
	_, err := a.ActivateProving(ctx, db.begin(), key, "Roses-are-8-red")
	fmt.Println(errors.Is(err, accounts.ErrRefused))
	user, err := a.ActivateProving(ctx, db.begin(), key, "Violets-are-9-blue")
	fmt.Println(user.Email, err)
	// Output:
	// true
	// jane@example.com <nil>
}

// A signing key leaked, and was revoked. What was derived from it must not be accepted any more.
func ExampleAccounts_RenewKeys() {
	a, db := exampleAccounts()
	ctx := context.Background()
	for {
		tx := db.begin() // each batch in a transaction of its own
		n, err := a.RenewKeys(ctx, tx, "f7e2c87f", 100)
		fmt.Println(n, err)
		if n == 0 || err != nil {
			return
		}
	}
	// Output: 0 <nil>
}

func ExampleAccounts_Authenticate() {
	a, _ := exampleAccounts()
	_, err := a.Authenticate(context.Background(), "nobody@example.com", "Violets-are-9-blue")
	fmt.Println(errors.Is(err, accounts.ErrRefused))
	// Output: true
}

func ExampleAccounts_Show() {
	a, db := exampleAccounts()
	ctx := context.Background()
	if _, err := a.Register(ctx, db.begin(), accounts.Registration{Email: "jane@example.com", Password: "Violets-are-9-blue"}); err != nil {
		fmt.Println(err)
	}
	s, err := a.Show(ctx, "JANE@example.com")
	fmt.Println(s.Email, s.Status, err)
	// Output: jane@example.com pending <nil>
}

func ExampleParseEmail() {
	e, err := accounts.ParseEmail("Jane@Bücher.example")
	fmt.Println(e.Given(), e.Norm(), err)
	_, err = accounts.ParseEmail("Jane <jane@example.com>")
	fmt.Println(errors.Is(err, accounts.ErrInvalidEmail))
	// Output:
	// Jane@Bücher.example jane@xn--bcher-kva.example <nil>
	// true
}

func ExampleAccounts_RequestReset() {
	a, db := exampleAccounts()
	ctx, tx := context.Background(), db.begin()
	// The answer is the same for an address that has no account. If it has, its owner gets a link.
	err := a.RequestReset(ctx, tx, "nobody@example.com")
	fmt.Println(err)
	// Output: <nil>
}

// A stranger keeps the address locked. In a browser that has logged in before its owner still gets at his account.
func ExampleAccounts_ProveDevice() {
	a, db := exampleAccounts()
	ctx := context.Background()
	_, _ = a.Register(ctx, db.begin(), accounts.Registration{Email: "jane@example.com", PasswordLater: true})
	user, _ := a.ActivateWithPassword(ctx, db.begin(), db.confirmation("jane@example.com"), "Violets-are-9-blue")
	_, device, _ := a.AuthenticateDevice(ctx, "jane@example.com", "Violets-are-9-blue", accounts.Device{}) // for a cookie
	for range 5 {
		_, _ = a.Authenticate(ctx, "jane@example.com", "a stranger's guess")
	}
	_, err := a.Prove(ctx, user.ID, "Violets-are-9-blue")
	fmt.Println(err)
	_, err = a.ProveDevice(ctx, user.ID, "Violets-are-9-blue", device)
	fmt.Println(err)
	// Output:
	// address or password is wrong, or too many attempts failed: try again later
	// <nil>
}

func ExampleAccounts_ResetPassword() {
	a, db := exampleAccounts()
	key := strings.Repeat("A", 43) // of the link, which nobody was mailed
	_, err := a.ResetPassword(context.Background(), db.begin(), key, "Roses-are-8-red")
	fmt.Println(err)
	// Output: reset password: this link is not valid (any more): ask for a new one
}

func ExampleAccounts_PrepareReset() {
	a, db := exampleAccounts()
	ctx := context.Background()
	key := strings.Repeat("A", 43) // of the link, which nobody was mailed
	password, err := a.PrepareReset(ctx, key, "Roses-are-8-red")
	if err != nil {
		fmt.Println(err)
		return
	}
	tx := db.begin()
	_, err = a.SetPassword(ctx, tx, password)
	fmt.Println(err)
	// Output: prepare reset: this link is not valid (any more): ask for a new one
}

func ExampleAccounts_PrepareChange() {
	a, _ := exampleAccounts()
	// The proof comes from Prove, and what this returns goes to SetPassword.
	_, err := a.PrepareChange(context.Background(), accounts.Proof{}, "Roses-are-8-red")
	fmt.Println(errors.Is(err, accounts.ErrRefused))
	// Output: true
}

// A NewPassword that nobody prepared sets nothing.
func ExampleAccounts_SetPassword() {
	a, db := exampleAccounts()
	_, err := a.SetPassword(context.Background(), db.begin(), accounts.NewPassword{})
	fmt.Println(errors.Is(err, accounts.ErrRefused))
	// Output: true
}

// Whoever is logged in gives the old password again, outside of the transaction: the charge for a wrong one must survive a rollback.
func ExampleAccounts_ChangePassword() {
	a, db := exampleAccounts()
	ctx := context.Background()
	proof, err := a.Prove(ctx, "the session's user ID", "a wrong guess")
	fmt.Println(err)
	_, err = a.ChangePassword(ctx, db.begin(), proof, "Roses-are-8-red")
	fmt.Println(errors.Is(err, accounts.ErrRefused))
	// Output:
	// address or password is wrong, or too many attempts failed: try again later
	// true
}

func ExampleAccounts_RequestEmailChange() {
	a, db := exampleAccounts()
	// The proof comes from Prove: the password again. The link goes to the new address, and opening it calls ConfirmEmailChange.
	err := a.RequestEmailChange(context.Background(), db.begin(), accounts.Proof{}, "jane@example.org")
	fmt.Println(errors.Is(err, accounts.ErrRefused))
	// Output: true
}

func ExampleAccounts_Resend() {
	a, db := exampleAccounts()
	ctx, tx := context.Background(), db.begin()
	if _, err := a.Register(ctx, tx, accounts.Registration{Email: "jane@example.com", Password: "Violets-are-9-blue"}); err != nil {
		fmt.Println(err)
	}
	_, err := a.Resend(ctx, tx, "jane@example.com")
	throttled, ok := errors.AsType[*accounts.ThrottledError](err)
	fmt.Println(ok, throttled.RetryAt)
	// Output: true 2026-05-04 12:01:00 +0000 UTC
}

func ExampleAccounts_Operator() {
	a, db := exampleAccounts()
	operator := a.Operator("cli:alice") // whom the audit log names
	ctx, tx := context.Background(), db.begin()
	fmt.Println(operator.Lock(ctx, tx, "jane@example.com", time.Hour))
	fmt.Println(operator.Grant(ctx, tx, "no such user", "admin"))
	// Output:
	// <nil>
	// account.role_granted: there is no such user
}

func ExampleAccounts_Require() {
	a, _ := exampleAccounts()
	admins := a.Require("admin")

	// A function …
	err := admins.Do(context.Background(), "the session's user ID", func(context.Context) error { return nil })
	fmt.Println(err)

	// … or a page.
	userID := func(*http.Request) string { return "the session's user ID" }
	http.NewServeMux().Handle("GET /admin", admins.Handler(userID, http.NotFoundHandler()))
	// Output: this needs a role that you do not have
}

func ExampleAccounts_AuthenticateDevice() {
	a, _ := exampleAccounts()
	device := accounts.ParseDevice("the cookie's value, if there is one")
	_, device, err := a.AuthenticateDevice(context.Background(), "nobody@example.com", "Violets-are-9-blue", device)
	fmt.Println(errors.Is(err, accounts.ErrRefused), device.IsZero()) // after a success: set the cookie to device.RevealText()
	// Output: true true
}

// The batch of a worker's sweep, in a transaction of its own.
func ExampleAccounts_LiftLockouts() {
	a, db := exampleAccounts()
	fmt.Println(a.LiftLockouts(context.Background(), db.begin(), 1000))
	// Output: 0 <nil>
}
