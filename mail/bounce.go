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
	parts := strings.Split(strings.TrimPrefix(text, "#"), ".") // "#5.7.1", as some appliances write it
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

// Refused is whom the server refuses that answers RCPT by a 5yz.
type Refused string

// Whom.
const (
	// RefusedNobody: it is no such answer.
	RefusedNobody Refused = ""
	// RefusedAddress: the recipient's address itself, for good, so that no other mail will reach it either.
	RefusedAddress Refused = "address"
	// RefusedMailbox: this recipient or this mail, and another mail may be taken.
	RefusedMailbox Refused = "mailbox"
	// RefusedSender: a policy, which may be against the recipient, or against us: our sender, user, network or number of mails.
	RefusedSender Refused = "sender"
	// RefusedUnsaid: the server does not say whom.
	RefusedUnsaid Refused = "unsaid"
)

// Refused says whom a refusal of RCPT is about. Codes alone decide:
//
//   - an enhanced code that says more than "undefined" has the last word. X.1.0, X.1.1, X.1.2, X.1.3, X.1.4, X.1.6 and X.1.10 are of
//     the destination's address (RFC 3463, section 3.2; RFC 7505, section 4.2). X.1.7 and X.1.8 are of the sender's, X.7.Y is a policy. X.2.2 is
//     a full mailbox, X.2.1 one that is disabled and may be enabled;
//   - with X.0.0 the basic code has it: 550, 551 and 553 speak of the mailbox (RFC 5321, section 4.2.3). A server that has enhanced codes
//     says X.7.1 where it means us;
//   - without an enhanced code 556 is a domain that takes no mail (RFC 7504, section 4), 552 is storage, 50z and 555 are what this address
//     made of the command. 550, 551, 553, 554 and others do not say: servers without enhanced codes answer all of them to strangers
//     who may not relay, and to customers who have sent too much.
func (e *SendError) Refused() Refused {
	if e.Stage != StageRcpt || e.Code/100 != 5 || loginCode(e.Code) {
		return RefusedNobody
	}
	status := e.Enhanced()
	switch {
	case status[1] == 7, status[1] == 1 && (status[2] == 7 || status[2] == 8):
		return RefusedSender
	case status[1] == 1:
		switch status[2] {
		case 0, 1, 2, 3, 4, 6, 10:
			return RefusedAddress
		}
		return RefusedMailbox
	case status[1] > 1, e.Code == 552, e.Code == 555, e.Code/10 == 50:
		return RefusedMailbox
	case e.Code == 556:
		return RefusedAddress
	case status == EnhancedStatus{}:
		return RefusedUnsaid
	case e.Code == 550, e.Code == 551, e.Code == 553:
		return RefusedAddress
	}
	return RefusedMailbox
}

// HardBounce says that the recipient's address itself is refused for good: see RefusedAddress. What a server says after DATA is of the
// message, not of the address.
func (e *SendError) HardBounce() bool {
	return e.Outcome == OutcomePermanent && e.Refused() == RefusedAddress
}
