package mail

import (
	"strconv"
	"strings"
)

// EnhancedStatus is the code of RFC 3463 at the begin of a server's text, such as 5.1.1: class, subject, detail. The zero value:
// there was none.
type EnhancedStatus [3]int

// Enhanced is the enhanced status code of the answer, where it has one of its basic code's class (RFC 2034, section 4).
func (e *SendError) Enhanced() EnhancedStatus {
	text, _, _ := strings.Cut(e.Reply, " ")
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return EnhancedStatus{}
	}
	var status EnhancedStatus
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || len(part) > 3 {
			return EnhancedStatus{}
		}
		status[i] = int(n)
	}
	if status[0] != e.Code/100 {
		return EnhancedStatus{}
	}
	return status
}

// HardBounce says that the recipient's address itself is refused for good, so that no other mail will reach it either. Codes alone
// decide, and only those that answer RCPT:
//
//   - an enhanced code that says more than "undefined" has the last word. X.1.0, X.1.1, X.1.2, X.1.3, X.1.4, X.1.6 and X.1.10 are of
//     the destination's address (RFC 3463, section 3.2; RFC 7505, section 4.2). X.1.7 and X.1.8 are of the sender's, X.2.2 is a full
//     mailbox, X.2.1 one that is disabled and may be enabled, X.7.Y a policy: none of them says that there is nobody;
//   - without one the basic code has it: 550, 551 and 553 speak of the mailbox (RFC 5321, section 4.2.3), 556 of a domain that takes no
//     mail (RFC 7504, section 4). 552 is storage, 554 whatever else.
//
// What a server says after DATA is of the message, not of the address.
func (e *SendError) HardBounce() bool {
	if e.Stage != StageRcpt || e.Outcome != OutcomePermanent {
		return false
	}
	status := e.Enhanced()
	if status[1] != 0 { // X.0.Y: other or undefined
		switch status[2] {
		case 0, 1, 2, 3, 4, 6, 10:
			return status[1] == 1
		}
		return false
	}
	switch e.Code {
	case 550, 551, 553, 556:
		return true
	}
	return false
}
