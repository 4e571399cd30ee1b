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

// The docs' table has a line for each stage, and a column for each class of answers.
func TestTheDocsTableOfOutcomesIsWhatIsDone(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "docs", "mail.md"))
	if err != nil {
		t.Fatal(err)
	}
	columns := [][]int{{400, 421, 450, 451, 452, 454, 499}, {500, 501, 550, 551, 552, 553, 554, 556, 571}, {530, 534, 535, 538}, {0}}
	told := make(map[mail.Stage]bool)
	for line := range strings.Lines(string(guide)) {
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
