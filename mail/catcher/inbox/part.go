package inbox

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// quiet is a mail's HTML part without the elements for whose sake browsers connect to hosts, before the policy of the page forbids them to
// load anything from there (seen in Chromium, of iframe and link). Nothing else rests on it: what the part may do is the policy's to say.
func quiet(part string) string {
	doc, err := html.ParseWithOptions(strings.NewReader(part), html.ParseOptionEnableScripting(false))
	if err != nil { // nested too deep
		return "<pre>" + html.EscapeString(part) + "</pre>"
	}
	for _, n := range slices.Collect(doc.Descendants()) {
		if n.Parent != nil && loads(n) {
			n.Parent.RemoveChild(n)
		}
	}
	var b bytes.Buffer
	if err := html.Render(&b, doc); err != nil {
		return "<pre>" + html.EscapeString(part) + "</pre>"
	}
	return b.String()
}

func loads(n *html.Node) bool {
	if n.Type != html.ElementNode {
		return false
	}
	switch n.DataAtom {
	case atom.Iframe, atom.Frame, atom.Frameset, atom.Link, atom.Base, atom.Object, atom.Embed, atom.Script, atom.Noembed, atom.Noframes, atom.Plaintext, atom.Xmp:
		return true
	case atom.Meta:
		return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "http-equiv" })
	default:
		return false
	}
}
