package jobs

import (
	"reflect"
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

// plainOptions settles the options of tasks that were made without any, which is a fraction of a resolver's work: the
// options of a call can be read, and go on to asynq as they are. Whatever is not plain – a task with options of its
// own, a group, what asynq is going to refuse, an option that is not asynq's – is left to the resolver, and so is
// everything when asynq's Task is no longer what it was.
type plainOptions struct {
	field int // of Task: its own options; -1: not to be found
	// types of the options by what they say of themselves. asynq goes by the type alone, and ignores an Option of another make.
	types map[asynq.OptionType]reflect.Type
}

func newPlainOptions() plainOptions {
	known := []asynq.Option{
		asynq.MaxRetry(1), asynq.Queue("q"), asynq.Timeout(1), asynq.Deadline(time.Time{}), asynq.Unique(time.Second),
		asynq.ProcessAt(time.Time{}), asynq.ProcessIn(1), asynq.TaskID("t"), asynq.Retention(1),
	}
	p := plainOptions{field: ownOptions(), types: make(map[asynq.OptionType]reflect.Type, len(known))}
	for _, opt := range known {
		p.types[opt.Type()] = reflect.TypeOf(opt)
	}
	return p
}

// ownOptions finds the field in which asynq's Task keeps the options it was made with. Reflection may read the length of
// a field that is not exported. Task must be built exactly as it was when this was written, and the field tell a task with an
// option from one without: so no other place can hold options that would be overlooked.
func ownOptions() int {
	const field = 3
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
	without, with := asynq.NewTask("t", nil), asynq.NewTask("t", nil, asynq.MaxRetry(1))
	if reflect.ValueOf(without).Elem().Field(field).Len() != 0 || reflect.ValueOf(with).Elem().Field(field).Len() != 1 {
		return -1
	}
	return field
}

// settle says false where the resolver has to.
func (p plainOptions) settle(task *asynq.Task, opts []asynq.Option) (settled, bool) {
	if p.field < 0 || task == nil || reflect.ValueOf(task).Elem().Field(p.field).Len() != 0 || strings.TrimSpace(task.Type()) == "" {
		return settled{}, false
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
		s.options = append(opts[:len(opts):len(opts)], asynq.TaskID(s.id))
	}
	return s, true
}

func (p plainOptions) apply(s *settled, opt asynq.Option) bool {
	if opt == nil || reflect.TypeOf(opt) != p.types[opt.Type()] {
		return false
	}
	switch kind := opt.Type(); kind {
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
