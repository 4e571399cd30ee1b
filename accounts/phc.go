package accounts

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// HashCost is what one argon2id hash costs. The zero value in a Config means DefaultHashCost.
type HashCost struct {
	MemoryKiB uint32 // m, 8 × Lanes to 262,144
	Passes    uint32 // t, 1 to 16; MemoryKiB × Passes is at most 1,048,576
	Lanes     uint8  // p, 1 to 16
}

// DefaultHashCost is OWASP's m=19456, t=2, p=1: about 35 ms and 19 MiB.
func DefaultHashCost() HashCost { return HashCost{MemoryKiB: 19456, Passes: 2, Lanes: 1} }

// minimumWork is the least MemoryKiB × Passes among OWASP's equivalent settings (m=7168, t=5).
const minimumWork = 7168 * 5

// Caps on what a stored hash may demand, so that one row cannot take the memory or the minutes of the process.
const (
	maxMemoryKiB = 256 << 10
	maxPasses    = 16
	maxLanes     = 16
	maxWork      = 1 << 20 // MemoryKiB × Passes: about one second
	maxPHCBytes  = 256
)

func (c HashCost) check() error {
	switch {
	case c.Lanes < 1 || c.Lanes > maxLanes:
		return fmt.Errorf("p=%d is not between 1 and %d", c.Lanes, maxLanes)
	case c.Passes < 1 || c.Passes > maxPasses:
		return fmt.Errorf("t=%d is not between 1 and %d", c.Passes, maxPasses)
	case c.MemoryKiB < 8*uint32(c.Lanes) || c.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("m=%d KiB is not between %d and %d", c.MemoryKiB, 8*uint32(c.Lanes), maxMemoryKiB)
	case c.MemoryKiB*c.Passes > maxWork:
		return fmt.Errorf("m × t = %d is over %d", c.MemoryKiB*c.Passes, maxWork)
	}
	return nil
}

// phc is an argon2id hash in the PHC string format (github.com/P-H-C/phc-string-format).
type phc struct {
	cost       HashCost
	salt, hash []byte
}

const phcPrefix = "$argon2id$"

func (p phc) String() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", phcPrefix, argon2.Version,
		p.cost.MemoryKiB, p.cost.Passes, p.cost.Lanes, enc.EncodeToString(p.salt), enc.EncodeToString(p.hash))
}

// parsePHC takes exactly what String writes, within the caps. Its errors never repeat the text.
func parsePHC(text string) (phc, error) {
	if len(text) > maxPHCBytes {
		return phc{}, fmt.Errorf("PHC string over %d bytes", maxPHCBytes)
	}
	rest, ok := strings.CutPrefix(text, phcPrefix+"v="+strconv.Itoa(argon2.Version)+"$")
	if !ok {
		return phc{}, errors.New("not an argon2id PHC string of version 19")
	}
	fields := strings.Split(rest, "$")
	if len(fields) != 3 {
		return phc{}, errors.New("PHC string without exactly parameters, salt and hash")
	}
	cost, err := parseCost(fields[0])
	if err != nil {
		return phc{}, fmt.Errorf("PHC string: %w", err)
	}
	p := phc{cost: cost}
	if p.salt, err = unpaddedBase64(fields[1], 8, 64); err != nil {
		return phc{}, fmt.Errorf("PHC string: salt: %w", err)
	}
	if p.hash, err = unpaddedBase64(fields[2], 16, 64); err != nil {
		return phc{}, fmt.Errorf("PHC string: hash: %w", err)
	}
	return p, nil
}

func parseCost(text string) (HashCost, error) {
	params := strings.Split(text, ",")
	if len(params) != 3 {
		return HashCost{}, errors.New("parameters other than m, t and p")
	}
	var values [3]uint32
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(params[i], name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(n, 10) != digits { // no sign, no leading zero
			return HashCost{}, fmt.Errorf("parameter %s is not a plain number", name)
		}
		values[i] = uint32(n)
	}
	lanes := values[2]
	if lanes > maxLanes {
		return HashCost{}, fmt.Errorf("p=%d is over %d", lanes, maxLanes)
	}
	c := HashCost{MemoryKiB: values[0], Passes: values[1], Lanes: uint8(lanes)}
	return c, c.check()
}

func unpaddedBase64(text string, least, most int) ([]byte, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // Strict still skips line ends
		return nil, errors.New("not base64 without padding")
	}
	if len(b) < least || len(b) > most {
		return nil, fmt.Errorf("%d bytes are not between %d and %d", len(b), least, most)
	}
	return b, nil
}
