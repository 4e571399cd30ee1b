package accounts_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealq/sealq/accounts"
)

func TestAHasherHashesAsAccountsDo(t *testing.T) {
	t.Parallel()
	h, err := accounts.NewHasher(accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, 2)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := h.New(t.Context(), "ann", "a long enough passphrase")
	if err != nil || !strings.HasPrefix(hash.RevealText(), "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Fatalf("hash %s, %v", hash.RevealText(), err)
	}
	for password, want := range map[string]bool{"a long enough passphrase": true, "another": false, "": false, strings.Repeat("a", 2000): false} {
		if match, err := h.Verify(t.Context(), hash, password); err != nil || match != want {
			t.Errorf("%.30q: %v, %v", password, match, err)
		}
		if match, err := h.Verify(t.Context(), accounts.PasswordHash{}, password); err != nil || match {
			t.Errorf("%.30q against nothing: %v, %v", password, match, err)
		}
	}
	if _, err := h.Verify(t.Context(), accounts.NewPasswordHash("$argon2id$nonsense"), "x"); err == nil {
		t.Error("a hash that cannot be read was compared")
	}
	for _, password := range []string{"", "short", "password", "annannann", strings.Repeat("a", 1025), "a\x00bcdefgh"} {
		if _, err := h.New(t.Context(), "annannann", password); !errors.Is(err, accounts.ErrInvalidPassword) {
			t.Errorf("%.30q: %v", password, err)
		}
	}
	if _, err := accounts.NewHasher(accounts.HashCost{MemoryKiB: 1 << 30, Passes: 1, Lanes: 1}, 0); err == nil {
		t.Error("a cost over the caps was taken")
	}
}
