package dashboard

import (
	"net/http"
	"net/url"
	"slices"
)

// sureView asks once more before something is done. Without a script it is a page.
type sureView struct {
	Action string // where the form goes
	Text   string // what comes of it
	Fields []field
	Yes    string // what the button says
	Danger bool
	Back   string // where who does not want it goes
}

// field is one of a form, escaped as target.Form is.
type field struct{ Name, Value string }

// sure says whether the visitor has been asked, and has said yes. Else it asks him: the form is sent again, by the page's button.
func (v *visit) sure(s sureView) (yes bool, err error) {
	if v.r.PostFormValue("sure") == "yes" {
		return true, nil
	}
	s.Action = v.r.URL.Path
	for name := range v.r.PostForm {
		s.Fields = append(s.Fields, field{name, v.r.PostForm.Get(name)})
	}
	slices.SortFunc(s.Fields, func(a, b field) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return false, v.page(http.StatusOK, "sure", "Are you sure?", s)
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
