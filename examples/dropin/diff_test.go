package dropin_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// line is a line of a diff: kind is '-', '+' or ' '.
type line struct {
	kind byte
	text string
}

// diffLines compares line by line, by the longest common subsequence.
func diffLines(before, after []string) []line {
	common := make([][]int, len(before)+1) // of what is left from line i and line j on
	for i := range common {
		common[i] = make([]int, len(after)+1)
	}
	for i, old := range slices.Backward(before) {
		for j, changed := range slices.Backward(after) {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if old == changed {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	var out []line
	for i, j := 0, 0; i < len(before) || j < len(after); {
		switch {
		case i < len(before) && j < len(after) && before[i] == after[j]:
			out = append(out, line{' ', before[i]})
			i++
			j++
		case i < len(before) && (j == len(after) || common[i+1][j] >= common[i][j+1]):
			out = append(out, line{'-', before[i]})
			i++
		default:
			out = append(out, line{'+', after[j]})
			j++
		}
	}
	return out
}

// render shows the changed lines, each group with the line before it, and how many lines changed.
func render(lines []line) (text string, changed int) {
	var b strings.Builder
	for i, l := range lines {
		if l.kind == ' ' {
			continue
		}
		if i > 0 && lines[i-1].kind == ' ' {
			b.WriteString(strings.TrimRight(" "+lines[i-1].text, " ") + "\n")
		}
		b.WriteString(strings.TrimRight(string(l.kind)+l.text, " ") + "\n")
		changed++
	}
	return b.String(), changed
}

func readLines(t *testing.T, path ...string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestSigningTakesFewerThan15ChangedLines(t *testing.T) {
	t.Parallel()
	diff, changed := render(diffLines(readLines(t, "before", "main.go"), readLines(t, "after", "main.go")))
	if changed == 0 || changed >= 15 {
		t.Errorf("%d lines are added and removed, want fewer than 15:\n%s", changed, diff)
	}
	readme := strings.Join(readLines(t, "README.md"), "\n")
	if !strings.Contains(readme, "```diff\n"+diff+"```") {
		t.Errorf("README.md shows another diff than this one:\n%s", diff)
	}
}

func TestDiffLines(t *testing.T) {
	t.Parallel()
	diff, changed := render(diffLines(strings.Split("a b c d e", " "), strings.Split("a x c e f", " ")))
	if want := " a\n-b\n+x\n c\n-d\n e\n+f\n"; diff != want || changed != 4 {
		t.Errorf("%d changed lines:\n%s", changed, diff)
	}
}
