package audit

// Query says of which entries a page is. All that is given must hold.
type Query struct {
	Actor   string // begins so; "": whoever it was
	Action  string // begins so; "": whatever it was
	Subject string // exactly so; "": whatever it was about
	Before  int64  // only entries whose ID is lower; 0: from the newest on
}
