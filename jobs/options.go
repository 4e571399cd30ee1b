package jobs

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
)

// settled is what of a task's options is signed, and the options that tell asynq's client the same.
type settled struct {
	id        string
	queue     string
	maxRetry  int
	processAt time.Time // zero: at once
	at        time.Time // when it was settled
	options   []asynq.Option
}

// What asynq takes where no option says otherwise (asynq v0.26.0, client.go).
const (
	asynqQueue    = "default"
	asynqMaxRetry = 25
)

// plainOptions settles what can be read, which takes a fraction of a resolver's time: the options of a call say what they
// are, and those that a task was made with are read by reflection, as far as they are numbers and text. They go on to
// asynq as they are. Whatever is not plain – a time among the task's own options, a group, what asynq is going to refuse,
// an option that is not asynq's – is left to the resolver, and so is everything when asynq's Task is not as it was. See
// docs/adr/0011-wrap-reads-options.md.
type plainOptions struct {
	field int // of Task: its own options; -1: nothing can be read
	// types of the options. asynq goes by them and ignores an Option of another make, whatever its Type says.
	types [asynq.GroupOpt + 1]reflect.Type
}

func newPlainOptions() plainOptions {
	p := plainOptions{field: ownOptions()}
	readable := []asynq.Option{
		asynq.MaxRetry(1), asynq.Queue("q"), asynq.TaskID("t"), asynq.Timeout(2), asynq.Unique(time.Second), asynq.ProcessIn(3), asynq.Retention(4),
	}
	for _, opt := range slices.Concat(readable, []asynq.Option{asynq.Deadline(time.Time{}), asynq.ProcessAt(time.Time{})}) {
		p.types[opt.Type()] = reflect.TypeOf(opt)
	}
	if p.field < 0 {
		return p
	}
	none, knowsNone := p.own(asynq.NewTask("t", nil), 0)
	all, knowsAll := p.own(asynq.NewTask("t", nil, readable...), 0)
	if !knowsNone || len(none) != 0 || !knowsAll || !reflect.DeepEqual(all, readable) {
		p.field = -1
	}
	return p
}

// ownOptions finds the field in which asynq's Task keeps the options it was made with. Task must be built exactly as it was
// when this was written: so no other place can hold options that would be overlooked.
func ownOptions() int {
	want := []reflect.Type{
		reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[map[string]string](),
		reflect.TypeFor[[]asynq.Option](), reflect.TypeFor[*asynq.ResultWriter](),
	}
	task := reflect.TypeFor[asynq.Task]()
	if task.NumField() != len(want) {
		return -1
	}
	for i, w := range want {
		if task.Field(i).Type != w {
			return -1
		}
	}
	return slices.Index(want, reflect.TypeFor[[]asynq.Option]())
}

// settle says false where the resolver has to.
func (p *plainOptions) settle(task *asynq.Task, opts []asynq.Option) (settled, bool) {
	if p.field < 0 || task == nil || strings.TrimSpace(task.Type()) == "" {
		return settled{}, false
	}
	const id = 1 // room for one that is drawn
	own, ok := p.own(task, len(opts)+id)
	if !ok {
		return settled{}, false
	}
	if len(own) > 0 { // those of the call come after: the last of a kind counts
		opts = append(own, opts...)
	}
	s := settled{queue: asynqQueue, maxRetry: asynqMaxRetry, options: opts, at: time.Now()} //nolint:forbidigo // asynq counts ProcessIn from the same clock
	for _, opt := range opts {
		if !p.apply(&s, opt) {
			return settled{}, false
		}
	}
	if !s.processAt.After(s.at) {
		s.processAt = time.Time{}
	}
	if s.id == "" {
		s.id = uuid.NewString() // as asynq does
		if len(own) == 0 {
			opts = slices.Clip(opts) // the caller's
		}
		s.options = append(opts, asynq.TaskID(s.id))
	}
	return s, true
}

// own reads the options that the task was made with, into a slice with room for more.
func (p *plainOptions) own(task *asynq.Task, room int) ([]asynq.Option, bool) {
	field := reflect.ValueOf(task).Elem().Field(p.field)
	if field.Len() == 0 {
		return nil, true
	}
	opts := make([]asynq.Option, 0, field.Len()+room)
	for i := range field.Len() {
		v := field.Index(i).Elem()
		if !v.IsValid() {
			return nil, false
		}
		switch v.Type() {
		case p.types[asynq.MaxRetryOpt]:
			opts = append(opts, asynq.MaxRetry(int(v.Int())))
		case p.types[asynq.QueueOpt]:
			opts = append(opts, asynq.Queue(v.String()))
		case p.types[asynq.TaskIDOpt]:
			opts = append(opts, asynq.TaskID(v.String()))
		case p.types[asynq.TimeoutOpt]:
			opts = append(opts, asynq.Timeout(time.Duration(v.Int())))
		case p.types[asynq.UniqueOpt]:
			opts = append(opts, asynq.Unique(time.Duration(v.Int())))
		case p.types[asynq.ProcessInOpt]:
			opts = append(opts, asynq.ProcessIn(time.Duration(v.Int())))
		case p.types[asynq.RetentionOpt]:
			opts = append(opts, asynq.Retention(time.Duration(v.Int())))
		default:
			return nil, false
		}
	}
	return opts, true
}

func (p *plainOptions) apply(s *settled, opt asynq.Option) bool {
	if opt == nil {
		return false
	}
	kind := opt.Type()
	if kind < 0 || int(kind) >= len(p.types) || reflect.TypeOf(opt) != p.types[kind] {
		return false
	}
	switch kind { //nolint:exhaustive // the others are not signed
	case asynq.MaxRetryOpt:
		s.maxRetry, _ = opt.Value().(int)
	case asynq.QueueOpt:
		s.queue, _ = opt.Value().(string)
		return strings.TrimSpace(s.queue) != ""
	case asynq.TaskIDOpt:
		s.id, _ = opt.Value().(string)
		return strings.TrimSpace(s.id) != ""
	case asynq.ProcessAtOpt:
		s.processAt, _ = opt.Value().(time.Time)
	case asynq.ProcessInOpt:
		delay, _ := opt.Value().(time.Duration)
		s.processAt = s.at.Add(delay)
	case asynq.UniqueOpt:
		lock, _ := opt.Value().(time.Duration)
		return lock >= time.Second
	}
	return true
}
