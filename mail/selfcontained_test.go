package mail_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealq/sealq/mail"
)

func TestAMailLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	for sentence, tt := range map[string]struct{ html, names string }{ // names: "" where it is allowed
		"a link":                         {`<a href="https://example.com/x">x</a><a href="mailto:ann@example.com">x</a><a href="{{.Link}}">x</a>`, ""},
		"styles":                         {`<p style="color: red; background: linear-gradient(#fff, #eee)">x</p>`, ""},
		"a table":                        {`<table role="presentation"><tr><td bgcolor="#fff">url of the app</td></tr></table>`, ""},
		"an image":                       {`<img src="https://example.com/x.png">`, "<img>"},
		"an image in the mail":           {`<img src="data:image/png;base64,AAAA">`, "<img>"},
		"an image in capitals":           {`<IMG SRC=//example.com/x>`, "<img>"},
		"a picture":                      {`<picture><source srcset="//x/y"></picture>`, "<picture>"},
		"an image of SVG":                {`<svg><image href="//x/y"/></svg>`, "<svg>"},
		"a style sheet":                  {`<link rel="stylesheet" href="https://example.com/x.css">`, "<link>"},
		"a base":                         {`<base href="https://example.com/">`, "<base>"},
		"a script":                       {`<script>x()</script>`, "<script>"},
		"a frame":                        {`<iframe src="https://example.com"></iframe>`, "<iframe>"},
		"a form":                         {`<form action="https://example.com"></form>`, "<form>"},
		"an input with a picture":        {`<input type=image src=//x/y>`, "<input>"},
		"a video":                        {`<video poster="//x/y"></video>`, "<video>"},
		"an object":                      {`<object data="//x/y"></object>`, "<object>"},
		"a background":                   {`<td background="//x/y">x</td>`, "background"},
		"a background of a table":        {`<table><tr><td background="{{.Link}}">x</td></tr></table>`, "background"},
		"a picture in a style":           {`<p style="background: url(//x/y)">x</p>`, "url( in the attribute style of <p>"},
		"one in capitals, with a blank":  {`<p style="background: URL (//x/y)">x</p>`, "url("},
		"one with escapes":               {`<p style="background: \75 rl(//x/y)">x</p>`, "url("},
		"one with a character escaped":   {`<p style="background: u\rl(//x/y)">x</p>`, "url("},
		"one with a comment":             {`<p style="background: u/**/rl(//x/y)">x</p>`, "url("},
		"a set of pictures":              {`<p style="background: image-set('//x/y' 1x)">x</p>`, "image-set("},
		"a style sheet in a style sheet": {"<style>p { color: red }\n\n@import '//x/y';</style>", "@import in <style>"},
		"a picture in a style sheet":     {`<style>p { background: url("//x/y") }</style>`, "url( in <style>"},
		"a font":                         {`<style>@font-face { font-family: x }</style>`, "@font-face"},
		"a ping":                         {`<a href="https://example.com" ping="//x/y">x</a>`, "ping"},
		"a link that runs":               {`<a href="javascript:x()">x</a>`, "a link that is no http"},
		"a link to a file":               {`<a href=" FILE:///x">x</a>`, "a link that is no http"},
		"a handler":                      {`<p onclick="x()">x</p>`, "onclick"},
		"a refresh":                      {`<meta http-equiv="refresh" content="0; url=//x/y">`, "refresh"},
		"a namespace of its own":         {`<v:fill src="//x/y">`, "<v:fill>"},
		"one in a branch not taken":      {`{{if not .Product}}<img src="//x/y">{{end}}`, "<img>"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			texts := whole(map[string]string{"body.html": "<p>{{.Link}}\n{{/* two\nlines */}}</p>\n" + tt.html})
			_, err := mail.ParseTemplates(files(texts))
			if tt.names == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refusal, ok := errors.AsType[*mail.TemplateError](err)
			line := 4 + strings.Count(tt.html, "\n") // it is in the last one
			if !ok || refusal.File != "fr/confirmation/body.html" || refusal.Line != line || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("want line %d of fr/confirmation/body.html and %q, got %v", line, tt.names, err)
			}
		})
	}
}

func TestAMailLoadsNothingThatItsPartsMakeTogether(t *testing.T) {
	t.Parallel()
	for sentence, body := range map[string]string{
		"an attribute of a style":  `<p>{{.Link}}</p><p style="background: u{{/* */}}rl(//x/y)">x</p>`,
		"a style that is composed": `<p>{{.Link}}</p><style>p { background: {{template "u"}}rl(//x/y) }</style>{{define "u"}}u{{end}}`,
	} {
		_, err := mail.ParseTemplates(files(whole(map[string]string{"body.html": body})))
		if refusal, ok := errors.AsType[*mail.TemplateError](err); !ok || refusal.File != "fr/confirmation/body.html" || !strings.Contains(err.Error(), "url(") {
			t.Errorf("%s: got %v", sentence, err)
		}
	}
}

func TestALayoutLoadsNothingEither(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"layout.html", "de/layout.html"} {
		_, err := mail.ParseTemplates(files(map[string]string{path: "{{template \"content\" .}}\n<img src=//x/y>"}))
		if refusal, ok := errors.AsType[*mail.TemplateError](err); !ok || refusal.File != path || refusal.Line != 2 {
			t.Errorf("%s: got %v", path, err)
		}
	}
}
