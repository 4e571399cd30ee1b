package mail

import (
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

// blank replaces the actions of a template by a word, and keeps its lines.
func blank(source string) string {
	return regexp.MustCompile(`(?s)\{\{.*?\}\}`).ReplaceAllStringFunc(source, func(action string) string {
		return "x" + strings.Repeat("\n", strings.Count(action, "\n"))
	})
}

// foreign says of the first thing in HTML that a reader's program would fetch, run or send what is wrong with it, and names its line. What stands in the mail
// itself (data:, cid:) counts too: mails are readable without images.
func foreign(source string) (problem string, line int) {
	const why = ": a mail loads nothing from elsewhere, only <a href> may lead there: take it out"
	line = 1
	inStyle := false
	for tokens := html.NewTokenizer(strings.NewReader(source)); ; {
		kind := tokens.Next()
		if kind == html.ErrorToken {
			if !errors.Is(tokens.Err(), io.EOF) || len(tokens.Raw()) > 0 {
				return "a tag begins here that does not end", line
			}
			return "", 0
		}
		raw := string(tokens.Raw()) // before Token, which changes it
		token := tokens.Token()
		switch kind {
		case html.StartTagToken, html.SelfClosingTagToken:
			if what := inTag(token); what != "" {
				return what + why, line
			}
			inStyle = token.Data == "style" && kind == html.StartTagToken
		case html.EndTagToken:
			inStyle = false
		case html.TextToken:
			if inStyle {
				if what, at := inCSS(token.Data); what != "" {
					return what + " in <style>" + why, line + strings.Count(token.Data[:at], "\n")
				}
			}
		case html.CommentToken, html.DoctypeToken, html.ErrorToken:
		}
		line += strings.Count(raw, "\n")
	}
}

// refusedValue is what html/template writes instead of a value that would be dangerous where it stands.
const refusedValue = "ZgotmplZ"

// relativeLink says whether there is a link that is relative to a page: a mail is none. One to an anchor stays within the mail.
func relativeLink(source string) bool {
	for tokens := html.NewTokenizer(strings.NewReader(source)); tokens.Next() != html.ErrorToken; {
		token := tokens.Token()
		if token.Data != "a" && token.Data != "area" {
			continue
		}
		for _, a := range token.Attr {
			value := strings.TrimSpace(a.Val)
			if scheme, _, ok := strings.Cut(value, ":"); a.Key == "href" && !strings.HasPrefix(value, "#") && (!ok || strings.ContainsAny(scheme, "/?#")) {
				return true
			}
		}
	}
	return false
}

// inTag allows what is known to load nothing and looks closely at the rest.
func inTag(t html.Token) string {
	if slices.Contains([]string{
		"img", "image", "picture", "source", "svg", "math", "link", "base", "script", "iframe", "frame", "frameset", "object", "embed", "applet", "audio", "video",
		"track", "form", "input", "button", "portal", "template", "noscript", "xml",
	}, t.Data) || strings.Contains(t.Data, ":") {
		return "<" + t.Data + ">"
	}
	for _, a := range t.Attr {
		value := strings.ToLower(strings.TrimSpace(a.Val))
		switch {
		case a.Key == "href" && (t.Data == "a" || t.Data == "area"):
			scheme, _, ok := strings.Cut(value, ":")
			if ok && !slices.Contains([]string{"http", "https", "mailto", "tel"}, scheme) {
				return "a link that is no http, https, mailto or tel"
			}
		case slices.Contains([]string{
			"href", "src", "srcset", "srcdoc", "background", "poster", "data", "action", "formaction", "ping", "lowsrc", "dynsrc", "longdesc", "cite", "profile",
			"manifest", "codebase", "classid", "archive", "usemap", "xlink:href",
		}, a.Key):
			return "the attribute " + a.Key + " of <" + t.Data + ">"
		case strings.HasPrefix(a.Key, "on"):
			return "the attribute " + a.Key + " of <" + t.Data + ">"
		case a.Key == "http-equiv" && value != "content-type" && value != "x-ua-compatible":
			return "<meta http-equiv=" + strconv.Quote(value) + ">"
		case a.Key == "style":
			if what, _ := inCSS(a.Val); what != "" {
				return what + " in the attribute style of <" + t.Data + ">"
			}
		}
	}
	return ""
}

// inCSS finds what loads in CSS, also where it is spelled with escapes (CSS Syntax, 4.3.7) or comments.
func inCSS(css string) (what string, at int) {
	texts := []string{css}
	if strings.Contains(css, `\`) {
		texts = append(texts, regexp.MustCompile(`(?s)\\[0-9a-fA-F]{1,6}\s?|\\.`).ReplaceAllStringFunc(css, func(escape string) string {
			code, err := strconv.ParseInt(strings.TrimSpace(escape[1:]), 16, 32)
			if err != nil {
				return escape[1:]
			}
			return string(rune(code)) // what is no rune becomes U+FFFD
		}))
	}
	if strings.Contains(css, "/*") { // some programs read over it, as if nothing stood there
		texts = append(texts, regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(texts[len(texts)-1], ""))
	}
	for _, text := range texts {
		if what, at := fetches(strings.ToLower(text)); what != "" {
			return what, min(at, len(css))
		}
	}
	return "", 0
}

// fetches finds a rule or a function that fetches something.
func fetches(css string) (what string, at int) {
	for _, rule := range []string{"@import", "@font-face"} {
		if at := strings.Index(css, rule); at >= 0 {
			return rule, at
		}
	}
	functions := []string{"url", "src", "image", "image-set", "-webkit-image-set", "cross-fade", "-webkit-cross-fade", "element", "-moz-element", "paint", "expression"}
	for i := range len(css) {
		if css[i] != '(' {
			continue
		}
		before := strings.TrimRight(css[:i], " \t\r\n\f")
		word := before[strings.LastIndexFunc(before, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' })+1:]
		if slices.Contains(functions, word) {
			return word + "(", len(before) - len(word)
		}
	}
	return "", 0
}
