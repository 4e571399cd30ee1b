package accounts

// ReadPHC parses and writes a PHC string again, for tests.
func ReadPHC(text string) (HashCost, string, error) {
	p, err := parsePHC(text)
	if err != nil {
		return HashCost{}, "", err
	}
	return p.cost, p.String(), nil
}

// HoldHashSlots takes every slot for hashes until release is called.
func HoldHashSlots[Tx any](a *Accounts[Tx]) (release func()) {
	for range cap(a.hasher.slots) {
		a.hasher.slots <- struct{}{}
	}
	return func() {
		for range cap(a.hasher.slots) {
			<-a.hasher.slots
		}
	}
}
