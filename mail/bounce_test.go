package mail_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealq/sealq/mail"
)

func TestOnlyAnswersToRcptThatSpeakOfTheAddressAreHardBounces(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stage mail.Stage
		code  int
		reply string
		want  mail.Refused
	}{
		"no such user":                                  {mail.StageRcpt, 550, "5.1.1 no such user", mail.RefusedAddress},
		"an undefined enhanced code":                    {mail.StageRcpt, 550, "5.0.0 no", mail.RefusedAddress},
		"an undefined enhanced code, by 554":            {mail.StageRcpt, 554, "5.0.0 no", mail.RefusedMailbox},
		"mailbox name not allowed":                      {mail.StageRcpt, 553, "5.1.3 bad syntax", mail.RefusedAddress},
		"the domain takes no mail":                      {mail.StageRcpt, 556, "5.1.10 null MX", mail.RefusedAddress},
		"the same, without an enhanced code":            {mail.StageRcpt, 556, "null MX", mail.RefusedAddress},
		"no such domain, by 554":                        {mail.StageRcpt, 554, "5.1.2 no such domain", mail.RefusedAddress},
		"the mailbox has moved":                         {mail.StageRcpt, 550, "5.1.6 moved", mail.RefusedAddress},
		"as an appliance writes it":                     {mail.StageRcpt, 550, "#5.1.0 Address rejected.", mail.RefusedAddress},
		"an unknown detail":                             {mail.StageRcpt, 550, "5.1.99 what", mail.RefusedMailbox},
		"mailbox full":                                  {mail.StageRcpt, 552, "5.2.2 full", mail.RefusedMailbox},
		"mailbox full, by 550":                          {mail.StageRcpt, 550, "5.2.2 full", mail.RefusedMailbox},
		"mailbox full, without an enhanced code":        {mail.StageRcpt, 552, "full", mail.RefusedMailbox},
		"mailbox disabled":                              {mail.StageRcpt, 550, "5.2.1 disabled", mail.RefusedMailbox},
		"a command that it does not understand":         {mail.StageRcpt, 501, "bad address syntax", mail.RefusedMailbox},
		"the sender's address":                          {mail.StageRcpt, 550, "5.1.8 bad sender", mail.RefusedSender},
		"the sender's address, by 553":                  {mail.StageRcpt, 553, "5.1.7 bad sender", mail.RefusedSender},
		"a stranger may not relay":                      {mail.StageRcpt, 554, "5.7.1 Relay access denied", mail.RefusedSender},
		"a sender who is not the user":                  {mail.StageRcpt, 553, "5.7.1 not owned by user", mail.RefusedSender},
		"a policy, as an appliance writes it":           {mail.StageRcpt, 550, "#5.7.1 Your access to submit messages has been rejected.", mail.RefusedSender},
		"550 alone":                                     {mail.StageRcpt, 550, "relay not permitted", mail.RefusedUnsaid},
		"550 without a word":                            {mail.StageRcpt, 550, "", mail.RefusedUnsaid},
		"551 alone":                                     {mail.StageRcpt, 551, "we do not relay", mail.RefusedUnsaid},
		"553 alone":                                     {mail.StageRcpt, 553, "not in my list of allowed rcpthosts (#5.7.1)", mail.RefusedUnsaid},
		"554 alone":                                     {mail.StageRcpt, 554, "blocked", mail.RefusedUnsaid},
		"a class that is not the code's":                {mail.StageRcpt, 552, "4.1.1 what", mail.RefusedMailbox},
		"numbers that are no enhanced code decide none": {mail.StageRcpt, 550, "5.7.1000 what", mail.RefusedUnsaid},
		"nor do addresses":                              {mail.StageRcpt, 552, "5.1.1.1 is your address", mail.RefusedMailbox},
		"a demand to log in":                            {mail.StageRcpt, 530, "5.7.0 log in first", mail.RefusedNobody},
		"spam, after DATA":                              {mail.StageAnswer, 550, "5.1.1 spam", mail.RefusedNobody},
		"at DATA":                                       {mail.StageData, 550, "5.1.1 no valid recipients", mail.RefusedNobody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &mail.SendError{Stage: test.stage, Code: test.code, Reply: test.reply, Outcome: mail.OutcomePermanent}
			if got := e.Refused(); got != test.want || e.HardBounce() != (test.want == mail.RefusedAddress) {
				t.Errorf("%d %s: want %q, got %q, a hard bounce: %v", test.code, test.reply, test.want, got, e.HardBounce())
			}
		})
	}
	temporary := &mail.SendError{Stage: mail.StageRcpt, Code: 450, Reply: "4.1.1 not now", Outcome: mail.OutcomeTemporary}
	if temporary.HardBounce() || temporary.Enhanced() != (mail.EnhancedStatus{4, 1, 1}) {
		t.Error("a temporary refusal is no bounce")
	}
}

// The docs' table has a line for each stage, and a column for each class of answers.
func TestTheDocsTableOfOutcomesIsWhatIsDone(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "docs", "mail.md"))
	if err != nil {
		t.Fatal(err)
	}
	columns := [][]int{{400, 421, 450, 451, 452, 454, 499}, {500, 501, 550, 551, 552, 553, 554, 556, 571}, {530, 534, 535, 538}, {0}}
	told := make(map[mail.Stage]bool)
	_, table, found := strings.Cut(string(guide), "\n| stage |")
	if !found {
		t.Fatal("the docs have no such table")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		stage := mail.Stage(strings.Trim(cells[0], " `"))
		if len(cells) != 1+len(columns) || stage == "stage" || stage == "-" {
			continue
		}
		told[stage] = true
		for i, codes := range columns {
			for _, code := range codes {
				if want, got := strings.TrimSpace(cells[i+1]), string(mail.Classify(stage, code)); want != got {
					t.Errorf("%s %d: the docs say %s, it is %s", stage, code, want, got)
				}
			}
		}
	}
	for _, stage := range []mail.Stage{
		mail.StageDial, mail.StageGreeting, mail.StageHello, mail.StageTLS, mail.StageAuth, mail.StageMail, mail.StageRcpt, mail.StageData, mail.StageContent, mail.StageAnswer,
	} {
		if !told[stage] {
			t.Errorf("the docs say nothing of %s", stage)
		}
	}
}

// Before a recipient is named nothing can be his fault, and from then on nothing tells that it is not.
func TestWhatIsSaidBeforeARecipientIsNamedIsOfTheServer(t *testing.T) {
	t.Parallel()
	for stage, code := range map[mail.Stage]int{
		mail.StageGreeting: 421, mail.StageHello: 450, mail.StageTLS: 454, mail.StageAuth: 454, mail.StageMail: 452,
	} {
		if e := (&mail.SendError{Stage: stage, Code: code, Outcome: mail.Classify(stage, code)}); !e.Outage() || e.Answered() {
			t.Errorf("%s %d: an outage: %v, answered: %v", stage, code, e.Outage(), e.Answered())
		}
	}
	for _, stage := range []mail.Stage{mail.StageRcpt, mail.StageData, mail.StageAnswer} {
		for code, answered := range map[int]bool{421: false, 450: true, 550: true, 0: false} {
			e := &mail.SendError{Stage: stage, Code: code, Outcome: mail.Classify(stage, code)}
			if e.Outage() || e.Answered() != answered {
				t.Errorf("%s %d: an outage: %v, answered: %v", stage, code, e.Outage(), e.Answered())
			}
		}
		if e := (&mail.SendError{Stage: stage, Code: 535, Outcome: mail.Classify(stage, 535)}); !e.Outage() || e.Answered() {
			t.Errorf("%s: a demand to log in is no outage", stage)
		}
	}
	for what, e := range map[string]*mail.SendError{
		"the caller gave up":   {Stage: mail.StageMail, Outcome: mail.OutcomeTemporary},
		"the message is wrong": {Stage: mail.StageMessage, Outcome: mail.OutcomePermanent},
	} {
		if e.Outage() || e.Answered() {
			t.Errorf("%s: that says nothing of the server", what)
		}
	}
}
