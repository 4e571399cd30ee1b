package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// confirmView asks whether it is really wanted.
type confirmView struct {
	Ask    string   // what would be done
	Radius []string // whom it hits, and what comes of it
	Fields []fact   // of the form, as they were sent
	Action string   // where the form goes; by itself where it came from
	Button string
	Danger bool   // what is done is not undone by the same page
	Back   string // where who does not want it goes
}

// sure says that the visitor was asked and said yes. Else it has shown him c, whose form brings back what was sent.
func (v *visit) sure(c confirmView) (bool, error) {
	if v.r.PostFormValue("sure") == "yes" {
		return true, nil
	}
	c.Action = v.r.URL.Path
	for name, values := range v.r.PostForm {
		for _, value := range values {
			c.Fields = append(c.Fields, fact{name, value}) // as it came: the names in it are escaped already
		}
	}
	slices.SortFunc(c.Fields, func(a, b fact) int { return strings.Compare(a.Name+"\x00"+a.Value, b.Name+"\x00"+b.Value) })
	return false, v.page(http.StatusOK, "confirm", "Are you sure?", c)
}

// back leads to a page that says what has just been done.
func (v *visit) back(path string, query url.Values, did string) error {
	if query == nil {
		query = url.Values{}
	}
	query.Set("did", did)
	http.Redirect(v, v.r, path+"?"+query.Encode(), http.StatusSeeOther)
	return nil
}

// sorry says that there is nobody to ask: the program that serves the pages has not given it to them.
func sorry(what string) error {
	return refuse(http.StatusNotFound, "Not here", "This process shows no %s.", what)
}
