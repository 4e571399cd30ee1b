package operators

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238's own, which every authenticator app has; HMAC does not need it to resist collisions
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// The parameters that every authenticator app takes for granted (RFC 6238).
const (
	totpPeriod = 30 // seconds
	totpDigits = 6
	totpWindow = 1  // steps before and after that are taken: clocks differ, and people are slow (section 5.2)
	totpSecret = 20 // bytes, as many as SHA-1 has (RFC 4226, section 4)
)

// stepAt is the step that a time falls into.
func stepAt(t time.Time) int64 { return t.Unix() / totpPeriod }

// code is the code of a step (RFC 4226, section 5.3).
func code(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	_, _ = mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step))) //nolint:gosec // times before 1970 do not come
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%0*d", totpDigits, (binary.BigEndian.Uint32(sum[offset:])&0x7fffffff)%1_000_000)
}

// matchStep finds the step of which given is the code. Every step of the window is compared, whichever matches.
func matchStep(secret []byte, given string, now time.Time) (step int64, ok bool) {
	given = strings.Join(strings.Fields(given), "")
	for s := stepAt(now) - totpWindow; s <= stepAt(now)+totpWindow; s++ {
		if subtle.ConstantTimeCompare([]byte(code(secret, s)), []byte(given)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// Proposal is a second factor that is shown, once, to whom it is to be.
type Proposal struct {
	Secret string // in base32, for those who type it
	URI    string // otpauth://…, for the QR code
}

// base32Text is what authenticator apps read.
func base32Text(b []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)
}

func newProposal(issuer, name string, secret []byte) Proposal {
	text := base32Text(secret)
	label := url.PathEscape(issuer + ":" + name)
	query := url.Values{"secret": {text}, "issuer": {issuer}, "algorithm": {"SHA1"}, "digits": {fmt.Sprint(totpDigits)}, "period": {fmt.Sprint(totpPeriod)}}
	// Apps do not all read + as a space.
	return Proposal{Secret: text, URI: "otpauth://totp/" + label + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")}
}
