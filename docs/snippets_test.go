// Package docs_test compiles and runs what the guides show. Every Go block of README.md and of docs/ stands, line by
// line, in a source file of this folder, of examples/, metrics/ or mail/catcher/inbox/; every SQL block is run; links lead somewhere, and tests that are
// named exist.
package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// elided is a line of a block that stands for any lines of the source.
const elided = "// …"

// goBlocks are the Go blocks of a guide, each with the number of its first line.
func goBlocks(text string) map[int][]string { return blocksOf(text, "go") }

func blocksOf(text, language string) map[int][]string {
	blocks := make(map[int][]string)
	at := 0
	for i, line := range strings.Split(text, "\n") {
		switch {
		case at == 0 && line == "```"+language:
			at = i + 2
			blocks[at] = nil
		case at != 0 && line == "```":
			at = 0
		case at != 0:
			blocks[at] = append(blocks[at], line)
		}
	}
	return blocks
}

// standsIn says whether the block's lines follow one another in the source, at any depth of indentation.
func standsIn(source, block []string) bool {
	for _, part := range parts(block) {
		found := -1
		for i := range source {
			if startsWith(source[i:], part) {
				found = i + len(part)
				break
			}
		}
		if found < 0 {
			return false
		}
		source = source[found:]
	}
	return true
}

// parts splits a block at its elisions.
func parts(block []string) [][]string {
	all := [][]string{nil}
	for _, line := range block {
		if strings.TrimSpace(line) == elided {
			all = append(all, nil)
			continue
		}
		all[len(all)-1] = append(all[len(all)-1], line)
	}
	return all
}

func startsWith(source, part []string) bool {
	if len(part) == 0 {
		return true
	}
	if len(source) < len(part) || !strings.HasSuffix(source[0], part[0]) {
		return false
	}
	indent := strings.TrimSuffix(source[0], part[0])
	if strings.Trim(indent, "\t") != "" {
		return false
	}
	for i, line := range part {
		if line != "" {
			line = indent + line
		}
		if source[i] != line {
			return false
		}
	}
	return true
}

// faults lists what is wrong with a guide: Go blocks that stand in no source, links that lead nowhere, and tests or
// sentences that the file to which they link does not have.
func faults(path, text string, sources map[string][]string) []string {
	var found []string
	for at, block := range goBlocks(text) {
		compiled := false
		for _, source := range sources {
			compiled = compiled || standsIn(source, block)
		}
		if !compiled {
			found = append(found, fmt.Sprintf("%s:%d: this Go block stands in no file that is compiled", path, at))
		}
	}
	for _, link := range links.FindAllStringSubmatch(fences.ReplaceAllString(text, ""), -1) {
		name, target := link[1], strings.Split(link[2], "#")[0]
		if target == "" || strings.Contains(target, "://") {
			continue
		}
		file := filepath.Join(filepath.Dir(path), target)
		info, err := os.Stat(file)
		if err != nil {
			found = append(found, fmt.Sprintf("%s: the link to %s leads nowhere", path, target))
			continue
		}
		if want := named(name); want != "" && !info.IsDir() {
			if content, err := os.ReadFile(file); err != nil || !strings.Contains(string(content), want) {
				found = append(found, fmt.Sprintf("%s: %s does not have %s", path, target, name))
			}
		}
	}
	slices.Sort(found)
	return found
}

var (
	links  = regexp.MustCompile(`\[([^\]\n]+)\]\(([^)\s]+)\)`)
	fences = regexp.MustCompile("(?s)```.*?```")
)

// named is what a file must hold that a link names so: a test function, or a sentence of a suite in quotation marks.
func named(name string) string {
	sentence, isSentence := strings.CutPrefix(name, "“")
	switch {
	case isSentence:
		return `"` + strings.TrimSuffix(sentence, "”") + `"`
	case strings.HasPrefix(name, "Test"):
		return "func " + name + "("
	}
	return ""
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compiledSources are the lines of the files that guides quote.
func compiledSources(t *testing.T) map[string][]string {
	t.Helper()
	sources := make(map[string][]string)
	for _, root := range []string{".", "../examples", "../metrics", "../mail/catcher/inbox"} {
		for _, path := range files(t, root, ".go") {
			if filepath.Base(path) != "snippets_test.go" {
				sources[path] = strings.Split(read(t, path), "\n")
			}
		}
	}
	return sources
}

func files(t *testing.T, root, ext string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ext {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestGuidesShowWhatIsCompiledAndNameWhatExists(t *testing.T) {
	t.Parallel()
	sources := compiledSources(t)
	guides := append(files(t, ".", ".md"), "../README.md")
	blocks := 0
	for _, path := range guides {
		text := read(t, path)
		blocks += len(goBlocks(text))
		for _, fault := range faults(path, text, sources) {
			t.Error(fault)
		}
	}
	if blocks < 10 { // a fence that is spelt otherwise would show nothing, and nothing wrong
		t.Errorf("only %d Go blocks are found in %v", blocks, guides)
	}
}

func TestFaultsOfAGuideAreFound(t *testing.T) {
	t.Parallel()
	sources := map[string][]string{"a_test.go": {"func f() error {", "\ta := 1", "", "\tif a > 1 {", "\t\treturn nil", "\t}", "\treturn nil", "}"}}
	block := func(lines ...string) string { return "text\n\n```go\n" + strings.Join(lines, "\n") + "\n```\n" }
	uncompiled := []string{"x.md:4: this Go block stands in no file that is compiled"}
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a region, with less indentation":    {block("a := 1", "", "if a > 1 {", "\treturn nil", "}"), nil},
		"a region with an elision":           {block("func f() error {", "\t// …", "\treturn nil", "}"), nil},
		"another fence":                      {"```sh\nmake\n```\n", nil},
		"a word that is other":               {block("a := 2"), uncompiled},
		"a line that is left out unmarked":   {block("a := 1", "if a > 1 {"), uncompiled},
		"another indentation within":         {block("if a > 1 {", "return nil"), uncompiled},
		"the end of a line":                  {block("> 1 {"), uncompiled},
		"parts in another order":             {block("return nil", elided, "a := 1"), uncompiled},
		"lines past the source's end":        {block("\treturn nil", "}", "}"), uncompiled},
		"a link to a file and one elsewhere": {"[here](snippets_test.go#x) [there](https://example.org) [below](#y)", nil},
		"what looks like a link in a block":  {"```sh\n[pgx.Tx](db)\n```\n", nil},
		"a link that leads nowhere":          {"[here](nowhere.md)", []string{"x.md: the link to nowhere.md leads nowhere"}},
		"a test that exists":                 {"[TestFaultsOfAGuideAreFound](snippets_test.go)", nil},
		"a test that does not exist": {
			"[TestFaults](snippets_test.go)", []string{"x.md: snippets_test.go does not have TestFaults"},
		},
		"a sentence that exists":         {"[“a region with an elision”](snippets_test.go)", nil},
		"a sentence that does not exist": {"[“a region with” + an](snippets_test.go)", []string{"x.md: snippets_test.go does not have “a region with” + an"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, faults("x.md", c.text, sources)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}
