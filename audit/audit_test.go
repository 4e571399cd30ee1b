package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/audit"
)

func TestTheChainsFormatIsThatOfTheGoldens(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/v1/chain.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden []struct {
		ID                     int64
		At                     int64 `json:"at_unix_micros"`
		Actor, Action, Subject string
		Detail                 map[string]string
		Head                   string
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) < 3 {
		t.Fatalf("%d links are too few", len(golden))
	}
	var head audit.Head
	for _, g := range golden {
		head = head.Next(g.ID, audit.Entry{At: time.UnixMicro(g.At), Actor: g.Actor, Action: g.Action, Subject: g.Subject, Detail: g.Detail})
		if got := head.String(); got != g.Head {
			t.Errorf("link %d: want %s, got %s", g.ID, g.Head, got)
		}
		parsed, err := audit.ParseHead(g.Head)
		if err != nil || parsed != head {
			t.Errorf("%s is read as %v, %v", g.Head, parsed, err)
		}
	}
}

func TestWhatIsNoHeadIsRefused(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("0a", 32)
	for _, text := range []string{"", "1", "1:", "x:" + digits, "-1:" + digits, "1:" + digits[2:], "1:" + digits + "00", "1:zz" + digits[2:], "0:" + digits} {
		if _, err := audit.ParseHead(text); !errors.Is(err, audit.ErrHead) {
			t.Errorf("%q: want ErrHead, got %v", text, err)
		}
	}
	if h, err := audit.ParseHead(audit.Head{}.String()); err != nil || h != (audit.Head{}) {
		t.Errorf("the empty chain's head: %v, %v", h, err)
	}
}

func TestAnEntryIsStoredPrintableAndCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 2000)
	got, err := audit.Entry{
		Actor: "cli:eve\x1b[2J\xff", Action: "a" + long, Subject: long, Detail: map[string]string{"a\x00b": "line\nline", "long": long},
	}.Bounded()
	if err != nil {
		t.Fatal(err)
	}
	want := audit.Entry{
		Actor: "cli:eve\uFFFD[2J\uFFFD", Action: "a" + long[:62], Subject: long[:512],
		Detail: map[string]string{"a\uFFFDb": "line\uFFFDline", "long": long[:1024]},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	again, err := got.Bounded()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("stored twice it is another one (-want +got):\n%s", diff)
	}
}

func TestAnEntryThatDoesNotSayWhoDidWhatIsRefused(t *testing.T) {
	t.Parallel()
	many := make(map[string]string)
	for i := range 33 {
		many[fmt.Sprint(i)] = ""
	}
	for name, e := range map[string]audit.Entry{
		"without an actor": {Action: "a"}, "without an action": {Actor: "a"}, "with too many facts": {Actor: "a", Action: "a", Detail: many},
	} {
		if _, err := e.Bounded(); !errors.Is(err, audit.ErrIncomplete) {
			t.Errorf("%s: want ErrIncomplete, got %v", name, err)
		}
	}
}

// links is a chain in memory.
type links []audit.Link

func (l links) AuditLinks(_ context.Context, after int64, limit int) ([]audit.Link, error) {
	i, _ := slices.BinarySearchFunc(l, after+1, func(link audit.Link, position int64) int { return int(link.Position - position) })
	return l[i:min(i+limit, len(l))], nil
}

// AuditAnchor: nothing of it was purged.
func (links) AuditAnchor(context.Context) (audit.Head, error) { return audit.Head{}, nil }

// purged is a chain of whose links the first were purged. More of them go when it is read.
type purged struct {
	links  links
	anchor int
	goes   int
}

func (p *purged) AuditAnchor(context.Context) (audit.Head, error) {
	return p.links[p.anchor-1].Head, nil
}

func (p *purged) AuditLinks(ctx context.Context, after int64, limit int) ([]audit.Link, error) {
	p.anchor, p.goes = p.anchor+p.goes, 0
	return p.links.AuditLinks(ctx, max(after, int64(p.anchor)), limit)
}

func TestAChainThatWasPurgedIsVerifiedFromItsAnchor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm     func(p *purged)
		kept     int // the position of a head that was kept
		position int64
		want     error
	}{
		"nothing else was done":                       {func(*purged) {}, 2000, 0, nil},
		"the head that was kept is the anchor":        {func(*purged) {}, 1200, 0, nil},
		"the head that was kept was purged":           {func(*purged) {}, 1199, 0, audit.ErrPurged},
		"more is purged while it is read":             {func(p *purged) { p.goes = 500 }, 2000, 0, nil},
		"the link behind the anchor was taken out":    {func(p *purged) { p.links = slices.Delete(p.links, 1200, 1201) }, 0, 1201, audit.ErrBroken},
		"the link behind the anchor was altered":      {func(p *purged) { p.links[1200].ID = 7 }, 0, 1201, audit.ErrBroken},
		"the anchor is another than the link was":     {func(p *purged) { p.links[1199].Hash[0]++ }, 0, 1201, audit.ErrBroken},
		"the anchor is another than the head kept":    {func(p *purged) { p.links = anew(p.links, 3) }, 1200, 1200, audit.ErrBroken},
		"another chain is there, and a newer head":    {func(p *purged) { p.links = anew(p.links, 3) }, 2000, 2000, audit.ErrBroken},
		"the anchor moved forward over what was kept": {func(p *purged) { p.anchor = 2100 }, 2000, 0, audit.ErrPurged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &purged{links: chain(2500), anchor: 1200}
			var kept audit.Head
			if c.kept > 0 {
				kept = p.links[c.kept-1].Head
			}
			c.harm(p)
			head, err := audit.Verify(t.Context(), p, kept)
			if c.want == nil && (err != nil || head.Position != 2500) || !errors.Is(err, c.want) {
				t.Errorf("head %d, %v", head.Position, err)
			}
			if broken, ok := errors.AsType[*audit.BrokenError](err); ok && broken.Position != c.position {
				t.Errorf("want it broken at %d, got %v", c.position, err)
			}
		})
	}
}

func chain(n int) links {
	var all links
	var head audit.Head
	for i := range n {
		e := audit.Entry{At: time.UnixMicro(int64(i)), Actor: "cli:alice", Action: "test", Subject: fmt.Sprint(i), Detail: map[string]string{"n": fmt.Sprint(i)}}
		head = head.Next(int64(i)+100, e)
		all = append(all, audit.Link{Head: head, ID: int64(i) + 100, Entry: e})
	}
	return all
}

func TestVerifyNamesTheFirstPlaceWhereTheChainIsBroken(t *testing.T) {
	t.Parallel()
	const n = 2500 // three pages
	for name, c := range map[string]struct {
		harm     func(l links) links
		kept     int // the position of a head that was kept; 0: none
		position int64
	}{
		"nothing was done":                      {func(l links) links { return l }, 2300, 0},
		"an actor was altered":                  {func(l links) links { l[1499].Entry.Actor = "cli:bob"; return l }, 0, 1500},
		"a time was altered":                    {func(l links) links { l[0].Entry.At = l[0].Entry.At.Add(time.Microsecond); return l }, 0, 1},
		"a fact was altered":                    {func(l links) links { l[999].Entry.Detail["n"] = "7"; return l }, 0, 1000},
		"a fact was added":                      {func(l links) links { l[1000].Entry.Detail[""] = ""; return l }, 0, 1001},
		"an ID was altered":                     {func(l links) links { l[7].ID = 7; return l }, 0, 8},
		"the first was taken out":               {func(l links) links { return l[1:] }, 0, 1},
		"one was taken out":                     {func(l links) links { return slices.Delete(l, 1234, 1235) }, 0, 1235},
		"one was taken out, the rest moved up":  {func(l links) links { return moved(slices.Delete(l, 1234, 1235)) }, 0, 1235},
		"one was slipped in":                    {func(l links) links { return moved(slices.Insert(l, 1234, l[7])) }, 0, 1235},
		"two changed places":                    {func(l links) links { l[5], l[6] = l[6], l[5]; return moved(l) }, 0, 6},
		"one was appended with a made-up hash":  {func(l links) links { return moved(append(l, l[7])) }, 0, 2501},
		"the end was cut off, and a head kept":  {func(l links) links { return l[:2000] }, 2300, 2001},
		"all was taken out, and a head kept":    {func(links) links { return nil }, 1, 1},
		"all was written anew, and a head kept": {func(l links) links { return anew(l, 3) }, 2300, 2300},
		"two breaks: the first is named":        {func(l links) links { l[2000].ID = 7; l[1000].ID = 7; return l }, 0, 1001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := chain(n)
			var kept audit.Head
			if c.kept > 0 {
				kept = l[c.kept-1].Head
			}
			head, err := audit.Verify(t.Context(), c.harm(l), kept)
			if c.position == 0 {
				if err != nil || head.Position != n {
					t.Errorf("want a sound chain of %d, got %d, %v", n, head.Position, err)
				}
				return
			}
			broken, ok := errors.AsType[*audit.BrokenError](err)
			if !ok || !errors.Is(err, audit.ErrBroken) || broken.Position != c.position || head.Position != c.position-1 {
				t.Errorf("want it broken at %d, got head %d, %v", c.position, head.Position, err)
			}
		})
	}
}

// moved numbers the places anew, and leaves the hashes.
func moved(l links) links {
	l = slices.Clone(l)
	for i := range l {
		l[i].Position = int64(i) + 1
	}
	return l
}

// anew leaves an entry out and computes the whole chain again, as whoever holds the database can.
func anew(l links, without int) links {
	l = slices.Delete(l, without, without+1)
	var head audit.Head
	for i := range l {
		head = head.Next(l[i].ID, l[i].Entry)
		l[i].Head = head
	}
	return l
}

func TestAChainThatCannotBeReadIsNotCalledBroken(t *testing.T) {
	t.Parallel()
	_, err := audit.Verify(t.Context(), unreadable{}, audit.Head{})
	if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, audit.ErrBroken) {
		t.Errorf("got %v", err)
	}
}

type unreadable struct{ links }

func (unreadable) AuditLinks(context.Context, int64, int) ([]audit.Link, error) {
	return nil, os.ErrDeadlineExceeded
}

func ExampleVerify() {
	l := chain(3)
	head, err := audit.Verify(context.Background(), l, audit.Head{})
	fmt.Println(head.Position, err)
	l[1].Entry.Subject = "something else"
	_, err = audit.Verify(context.Background(), l, head)
	fmt.Println(err)
	// Output:
	// 3 <nil>
	// the audit chain is broken at position 2: entry 101 is not what was linked there
}
