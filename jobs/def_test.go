package jobs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
)

type note struct {
	User  int      `json:"user"`
	Text  string   `json:"text"`
	Tags  []string `json:"tags,omitempty"`
	Inner any      `json:"inner,omitempty"`
}

func noteDef(p jobs.Policy) jobs.Def[note] { return jobs.Define[note]("test:note", p) }

func TestDefineFillsInDefaults(t *testing.T) {
	t.Parallel()
	d := noteDef(jobs.Policy{})
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	got := d.Policy()
	for failures, least := range map[int]time.Duration{
		0: 5 * time.Second, 1: 5 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second, 8: 640 * time.Second,
		9: 15 * time.Minute, 64: 15 * time.Minute, 1_000_000: 15 * time.Minute,
	} {
		if pause := got.Backoff(failures); pause < least || pause > least+least/4 {
			t.Errorf("after %d failures the pause is %v, want %v to %v", failures, pause, least, least+least/4)
		}
	}
	got.Backoff = nil
	want := jobs.Policy{Queue: "default", MaxAge: 24 * time.Hour, Retries: 10, Timeout: time.Minute}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if d.Kind() != "test:note" {
		t.Errorf("kind %q", d.Kind())
	}
	if n := noteDef(jobs.Policy{Retries: jobs.NoRetries}).Policy().Retries; n != 0 {
		t.Errorf("NoRetries means %d retries", n)
	}
}

func TestDefineKeepsWhatIsSet(t *testing.T) {
	t.Parallel()
	want := jobs.Policy{Queue: "low", MaxAge: time.Hour, Retries: 3, Timeout: time.Second, Encrypt: true, NoLedger: true, Unique: true}
	set := want
	set.Backoff = func(n int) time.Duration { return time.Duration(n) }
	got := noteDef(set).Policy()
	if pause := got.Backoff(7); pause != 7 {
		t.Errorf("the backoff was replaced: %v", pause)
	}
	got.Backoff = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDefineRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind   jobs.Kind
		policy jobs.Policy
		want   string
		name   bool // it is a name that is refused
	}{
		"no kind":                    {"", jobs.Policy{}, `define "": invalid name: the kind is blank`, true},
		"a blank kind":               {" \t", jobs.Policy{}, `the kind is blank`, true},
		"a kind with a zero byte":    {"mail\x00", jobs.Policy{}, `define "mail\x00"`, true},
		"a kind that is not UTF-8":   {"mail\xff", jobs.Policy{}, "not valid UTF-8", true},
		"a long kind":                {jobs.Kind(strings.Repeat("k", 257)), jobs.Policy{}, "longer than 256", true},
		"a queue with a brace":       {"test:a", jobs.Policy{Queue: "a{b"}, `define "test:a": invalid name: queue "a{b" must not contain braces`, true},
		"a blank queue":              {"test:a", jobs.Policy{Queue: " "}, "the queue is blank", true},
		"a queue with a line break":  {"test:a", jobs.Policy{Queue: "a\nb"}, "control character", true},
		"a negative max age":         {"test:a", jobs.Policy{MaxAge: -1}, `define "test:a": max age -1ns is negative`, false},
		"a negative timeout":         {"test:a", jobs.Policy{Timeout: -1}, `define "test:a": timeout -1ns is negative`, false},
		"retries below none":         {"test:a", jobs.Policy{Retries: -2}, "for none use NoRetries", false},
		"more retries than asynq's ": {"test:a", jobs.Policy{Retries: 1_000_001}, "not between 0 and 1000000", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := jobs.Define[note](test.kind, test.policy)
			err := d.Err()
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, jobs.ErrInvalidName) != test.name {
				t.Errorf("want %q, got %v", test.want, err)
			}
			if err := d.With(note{}).Err(); err == nil {
				t.Error("it makes a job")
			}
			if _, err := d.Parse([]byte(`{"user":1,"text":""}`)); err == nil {
				t.Error("it parses a job")
			}
			if _, err := jobs.NewCatalog(d); err == nil {
				t.Error("a catalog takes it")
			}
		})
	}
}

func TestZeroDefDoesNothing(t *testing.T) {
	t.Parallel()
	var d jobs.Def[note]
	if err := d.Err(); !errors.Is(err, jobs.ErrInvalidName) || !strings.Contains(err.Error(), "use Define") {
		t.Errorf("Err: %v", err)
	}
	if err := d.With(note{}).Err(); !errors.Is(err, jobs.ErrInvalidName) {
		t.Errorf("With: %v", err)
	}
	if _, err := d.Parse([]byte(`{}`)); !errors.Is(err, jobs.ErrInvalidName) {
		t.Errorf("Parse: %v", err)
	}
	if _, err := d.Decode(signing.Verified{}); !errors.Is(err, jobs.ErrInvalidArgs) {
		t.Errorf("Decode: %v", err)
	}
	if _, err := (jobs.Job{}).Row(time.Time{}); err == nil {
		t.Error("the zero Job makes a row")
	}
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	a, b := jobs.Define[note]("test:b", jobs.Policy{}), jobs.Define[int]("test:a", jobs.Policy{})
	c, err := jobs.NewCatalog(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]jobs.Kind{"test:a", "test:b"}, c.Kinds()); diff != "" {
		t.Error(diff)
	}
	if d, err := c.Lookup("test:a"); err != nil || d.Kind() != "test:a" {
		t.Errorf("Lookup: %v %v", d, err)
	}
	if _, err := c.Lookup("test:b:evil"); !errors.Is(err, jobs.ErrUnknownKind) || err.Error() != `unknown kind "test:b:evil": known are test:a, test:b` {
		t.Errorf("Lookup of an unknown kind: %v", err)
	}
	if _, err := jobs.NewCatalog(a, b, jobs.Define[note]("test:a", jobs.Policy{})); !errors.Is(err, jobs.ErrDuplicateKind) || !strings.Contains(err.Error(), "test:a") {
		t.Errorf("two definitions of one kind: %v", err)
	}
}

func TestArgumentsAreDecodedStrictly(t *testing.T) {
	t.Parallel()
	nested := func(n int) string {
		return `{"user":1,"text":"","inner":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	tests := map[string]struct {
		payload string
		good    bool
	}{
		"good":                                {`{"user":7,"text":"hi"}`, true},
		"good, with white space":              {" {\"user\":7,\n\"text\":\"hi\"}\n", true},
		"good, braces in a text":              {`{"user":7,"text":"` + strings.Repeat("{[", 40) + `"}`, true},
		"good, wide but not deep":             {`{"user":7,"text":"","inner":[` + strings.Repeat("[],", 40) + `[]]}`, true},
		"good, as deep as allowed":            {nested(31), true},
		"too deep":                            {nested(32), false},
		"very deep":                           {nested(100_000), false},
		"deep and cut off":                    {`{"inner":` + strings.Repeat("[", 100_000), false},
		"nothing":                             {``, false},
		"white space":                         {` `, false},
		"null":                                {`null`, false},
		"null with white space":               {" null ", false},
		"an array":                            {`[]`, false},
		"a text":                              {`"hi"`, false},
		"an unknown name":                     {`{"user":7,"text":"hi","admin":true}`, false},
		"an unknown name that is null":        {`{"user":7,"admin":null}`, false},
		"a name in another case":              {`{"User":7,"text":"hi"}`, false},
		"a duplicate name":                    {`{"user":7,"text":"hi","user":8}`, false},
		"a duplicate name, escaped":           {`{"user":7,"text":"hi","\u0075ser":8}`, false},
		"a duplicate name further in":         {`{"user":7,"inner":{"a":1,"a":2}}`, false},
		"a number as text":                    {`{"user":"7","text":"hi"}`, false},
		"a fraction":                          {`{"user":7.5,"text":"hi"}`, false},
		"an exponent":                         {`{"user":7e0,"text":"hi"}`, false},
		"a number too large":                  {`{"user":9223372036854775808,"text":"hi"}`, false},
		"a text as a list":                    {`{"user":7,"text":["hi"]}`, false},
		"bytes after the end":                 {`{"user":7,"text":"hi"}x`, false},
		"a second value":                      {`{"user":7,"text":"hi"} {}`, false},
		"a zero byte after the end":           {"{\"user\":7,\"text\":\"hi\"}\x00", false},
		"a byte order mark":                   {"\xef\xbb\xbf{\"user\":7,\"text\":\"hi\"}", false},
		"invalid UTF-8":                       {"{\"user\":7,\"text\":\"h\xff\"}", false},
		"half a surrogate":                    {`{"user":7,"text":"\ud800"}`, false},
		"cut off":                             {`{"user":7,"text":"hi"`, false},
		"a comment":                           {`{"user":7,/**/"text":"hi"}`, false},
		"a comma too many":                    {`{"user":7,"text":"hi",}`, false},
		"more than a mebibyte of white space": {`{"user":7,"text":"hi"}` + strings.Repeat(" ", jobs.MaxArgsBytes), false},
	}
	d := noteDef(jobs.Policy{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checked := d.Check([]byte(test.payload))
			job, parsed := d.Parse([]byte(test.payload))
			if (checked == nil) != test.good || (parsed == nil) != test.good {
				t.Errorf("Check: %v; Parse: %v", checked, parsed)
			}
			if !test.good && (!errors.Is(checked, jobs.ErrInvalidArgs) || !errors.Is(parsed, jobs.ErrInvalidArgs)) {
				t.Errorf("the cause is not ErrInvalidArgs: %v; %v", checked, parsed)
			}
			if !test.good && job.Err() == nil && job.Kind() != "" {
				t.Error("there is a job all the same")
			}
			if test.good && d.Check(job.Payload()) != nil {
				t.Errorf("what it makes does not decode: %s", job.Payload())
			}
		})
	}
}

func TestDecodeNeedsTheKind(t *testing.T) {
	t.Parallel()
	e := newEnqueued(t)
	d := noteDef(jobs.Policy{})
	want := note{User: 7, Text: "hi", Tags: []string{"a"}}
	verified := e.verify(t, e.enqueue(t, d.With(want)))
	got, err := d.Decode(verified)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, kind := range []jobs.Kind{"test:not", "test:notes", "test:note:evil", "Test:note"} {
		if _, err := jobs.Define[note](kind, jobs.Policy{}).Decode(verified); !errors.Is(err, jobs.ErrInvalidArgs) {
			t.Errorf("%s decodes a test:note: %v", kind, err)
		}
	}
	type other struct {
		User int `json:"user"`
	}
	if _, err := jobs.Define[other]("test:note", jobs.Policy{}).Decode(verified); !errors.Is(err, jobs.ErrInvalidArgs) {
		t.Errorf("it decodes as another type: %v", err)
	}
}

func TestJobOptionsAreRefusedByName(t *testing.T) {
	t.Parallel()
	headers := func(n int) jobs.Option {
		return func(j *jobs.Job) {
			for i := range n {
				jobs.Header(strings.Repeat("h", i+1), "v")(j)
			}
		}
	}
	tests := map[string]struct {
		opt  jobs.Option
		want string
	}{
		"a blank queue":                    {jobs.Queue(""), "job test:note: invalid name: the queue is blank"},
		"a queue with braces":              {jobs.Queue("{a}"), "must not contain braces"},
		"an ID with a line break":          {jobs.ID("a\nb"), "the ID \"a\\nb\" contains a control character"},
		"a blank ID":                       {jobs.ID(" "), "the ID is blank"},
		"a long ID":                        {jobs.ID(strings.Repeat("i", 257)), "the ID is longer than 256 bytes"},
		"a negative delay":                 {jobs.In(-time.Second), "delay -1s is negative"},
		"a unique key with a zero byte":    {jobs.UniqueKey("a\x00"), "the unique key"},
		"a long unique key":                {jobs.UniqueKey(strings.Repeat("u", 257)), "the unique key is longer"},
		"too many retries":                 {jobs.MaxRetry(1_000_001), "not between 0 and 1000000"},
		"a header of ours":                 {jobs.Header(signing.EffectHeader, "x"), `names starting with "sealq-" are reserved`},
		"a header that may become ours":    {jobs.Header("sealq-later", "x"), "reserved"},
		"a header that is not UTF-8":       {jobs.Header("a", "\xff"), "not valid UTF-8"},
		"a header's name that is not UTF8": {jobs.Header("\xff", "a"), "not valid UTF-8"},
		"a long header":                    {jobs.Header("a", strings.Repeat("v", signing.DefaultMaxHeaderValue+1)), "too long"},
		"too many headers":                 {headers(signing.DefaultMaxHeaders), "64 headers are more than 63"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := noteDef(jobs.Policy{}).With(note{}, test.opt).Err()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %q, got %v", test.want, err)
			}
		})
	}
	if err := noteDef(jobs.Policy{}).With(note{}, headers(signing.DefaultMaxHeaders-1)).Err(); err != nil {
		t.Errorf("as many headers as are allowed: %v", err)
	}
}

func TestArgumentsThatNoWorkerWouldTakeAreRefused(t *testing.T) {
	t.Parallel()
	deep := any("x")
	for range 40 {
		deep = []any{deep}
	}
	room := jobs.MaxArgsBytes - len(`{"user":0,"text":""}`)
	tests := map[string]struct {
		args   note
		policy jobs.Policy
		good   bool
	}{
		"as many bytes as fit":      {note{Text: strings.Repeat("x", room)}, jobs.Policy{}, true},
		"a byte more":               {note{Text: strings.Repeat("x", room+1)}, jobs.Policy{}, false},
		"as many as fit, encrypted": {note{Text: strings.Repeat("x", room-28)}, jobs.Policy{Encrypt: true}, true},
		"a byte more, encrypted":    {note{Text: strings.Repeat("x", room-27)}, jobs.Policy{Encrypt: true}, false},
		"nested too deep":           {note{Inner: deep}, jobs.Policy{}, false},
		"not UTF-8":                 {note{Text: "\xff"}, jobs.Policy{}, false},
		"not to be put into JSON":   {note{Inner: make(chan int)}, jobs.Policy{}, false},
	}
	e := newEnqueued(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := noteDef(test.policy).With(test.args)
			if err := job.Err(); (err == nil) != test.good || err != nil && !errors.Is(err, jobs.ErrInvalidArgs) {
				t.Fatalf("it makes a job: %v, got %v", test.good, err)
			}
			_, err := e.enqueuer.Enqueue(t.Context(), job)
			if (err == nil) != test.good {
				t.Errorf("it is enqueued: %v, got %v", test.good, err)
			}
			if _, err := job.Row(time.Time{}); (err == nil) != test.good {
				t.Errorf("it makes a row: %v, got %v", test.good, err)
			}
		})
	}
}
