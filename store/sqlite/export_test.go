package sqlite

// Statements whose plans are tested.
const (
	ForgetAttemptsSQL = forgetAttemptsSQL
	MailsOfSQL        = mailsOfSQL
	RequestsOfSQL     = requestsOfSQL
)
