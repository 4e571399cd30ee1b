package sqlite

// ForgetAttemptsSQL is a statement whose plan is tested.
const ForgetAttemptsSQL = forgetAttemptsSQL
