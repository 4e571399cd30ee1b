package operators

import "time"

// CodeAt is what an authenticator app shows at that time.
func CodeAt(secret []byte, t time.Time) string { return code(secret, stepAt(t)) }
