package attack_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/sealq/sealq/signing/attack"
)

// Fire what can be made without any key at a system of which only the queue is known.
func ExampleCases() {
	forge, err := attack.NewForge(attack.Config{Queue: "mail", Kind: "mail:confirmation", IDPrefix: "drill-7"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	made := map[attack.Class]bool{}
	for _, c := range attack.Cases() {
		shot, err := c.Make(forge)
		if errors.Is(err, attack.ErrUnsuitable) {
			continue // it needs the target's keys
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		if !made[c.Class] {
			fmt.Printf("%s: put it into the list %s, to be refused as %s\n", c, shot.List, c.Want)
		}
		made[c.Class] = true
	}
	// Output:
	// form: it has no signature: put it into the list mail, to be refused as missing_signature
	// header: its version is 0: put it into the list mail, to be refused as unsupported_version
	// key: a stranger's key signed it just now: put it into the list mail, to be refused as unknown_key
}
