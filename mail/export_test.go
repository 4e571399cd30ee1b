package mail

// Classify says what a code at a stage means; 0 is no answer.
func Classify(stage Stage, code int) Outcome { return classify(stage, code) }
