package rawtask

import "strings"

// Denied says whether Redis has answered that its user may not do that, be it by a script. Trying again does not help before somebody
// gives the user the right: `sealq redis-acl` prints what is needed.
func Denied(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "NOPERM") || strings.Contains(text, "The user executing the script can't")
}
