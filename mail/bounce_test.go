package mail_test

import (
	"testing"

	"github.com/sealq/sealq/mail"
)

func TestOnlyAnswersToRcptThatSpeakOfTheAddressAreHardBounces(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stage mail.Stage
		code  int
		reply string
		want  bool
	}{
		"no such user":                                  {mail.StageRcpt, 550, "5.1.1 no such user", true},
		"no such user, without an enhanced code":        {mail.StageRcpt, 550, "no such user", true},
		"no text at all":                                {mail.StageRcpt, 550, "", true},
		"an undefined enhanced code":                    {mail.StageRcpt, 550, "5.0.0 no", true},
		"user not local":                                {mail.StageRcpt, 551, "try elsewhere", true},
		"mailbox name not allowed":                      {mail.StageRcpt, 553, "5.1.3 bad syntax", true},
		"the domain takes no mail":                      {mail.StageRcpt, 556, "5.1.10 null MX", true},
		"no such domain, by 554":                        {mail.StageRcpt, 554, "5.1.2 no such domain", true},
		"the mailbox has moved":                         {mail.StageRcpt, 550, "5.1.6 moved", true},
		"the sender's address":                          {mail.StageRcpt, 550, "5.1.8 bad sender", false},
		"an unknown detail":                             {mail.StageRcpt, 550, "5.1.99 what", false},
		"mailbox full":                                  {mail.StageRcpt, 552, "5.2.2 full", false},
		"mailbox full, by 550":                          {mail.StageRcpt, 550, "5.2.2 full", false},
		"mailbox full, without an enhanced code":        {mail.StageRcpt, 552, "full", false},
		"mailbox disabled":                              {mail.StageRcpt, 550, "5.2.1 disabled", false},
		"policy":                                        {mail.StageRcpt, 550, "5.7.1 relaying denied", false},
		"policy, by 554":                                {mail.StageRcpt, 554, "blocked", false},
		"a class that is not the code's":                {mail.StageRcpt, 552, "4.1.1 what", false},
		"numbers that are no enhanced code decide none": {mail.StageRcpt, 550, "5.7.1000 what", true},
		"nor do addresses":                              {mail.StageRcpt, 552, "5.1.1.1 is your address", false},
		"spam, after DATA":                              {mail.StageAnswer, 550, "5.1.1 spam", false},
		"at DATA":                                       {mail.StageData, 550, "5.1.1 no valid recipients", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &mail.SendError{Stage: test.stage, Code: test.code, Reply: test.reply, Outcome: mail.OutcomePermanent}
			if got := e.HardBounce(); got != test.want {
				t.Errorf("%d %s: want %v, got %v", test.code, test.reply, test.want, got)
			}
		})
	}
	temporary := &mail.SendError{Stage: mail.StageRcpt, Code: 450, Reply: "4.1.1 not now", Outcome: mail.OutcomeTemporary}
	if temporary.HardBounce() || temporary.Enhanced() != (mail.EnhancedStatus{4, 1, 1}) {
		t.Error("a temporary refusal is no bounce")
	}
}
