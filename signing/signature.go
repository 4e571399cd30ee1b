package signing

import "encoding/base64"

// KIDOf reads which key a signature names. Nothing is verified: it is for whoever has just signed, and for tools that show
// a signature as what it claims.
func KIDOf(sig string) (KID, bool) {
	var raw [signatureSize]byte
	if len(sig) != signatureTextSize {
		return KID{}, false
	}
	if n, err := base64.RawURLEncoding.Decode(raw[:], []byte(sig)); err != nil || n != signatureSize {
		return KID{}, false
	}
	return KID(raw[offsetKID : offsetKID+len(KID{})]), true
}
