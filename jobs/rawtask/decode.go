package rawtask

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Message is what asynq stores of a task (asynq v0.26.0, internal/proto/asynq.proto). Nothing in it is verified.
type Message struct {
	Kind     string
	ID       string
	Queue    string
	Payload  []byte
	Headers  map[string]string
	MaxRetry int
	Retried  int
	Timeout  time.Duration
	Deadline time.Time // zero: none
	// LastError is what asynq wrote of the last failure, and LastFailed when; "" and zero before one.
	LastError  string
	LastFailed time.Time
}

// ErrUndecodable means that what stands under a task's key is no task.
var ErrUndecodable = errors.New("undecodable task message")

// Field numbers of asynq.TaskMessage.
const (
	fieldKind      = 1
	fieldPayload   = 2
	fieldID        = 3
	fieldQueue     = 4
	fieldMaxRetry  = 5
	fieldRetried   = 6
	fieldError     = 7
	fieldTimeout   = 8
	fieldDeadline  = 9
	fieldUniqueKey = 10
	fieldFailedAt  = 11
	fieldGroup     = 14
	fieldHeaders   = 15
)

// Decode takes a stored message apart. It takes and refuses the same bytes as asynq, in every field of a
// message: a worker never gets one that asynq cannot decode. The payload shares raw's memory.
func Decode(raw []byte) (Message, error) {
	var m Message
	err := eachField(raw, m.setText, m.setNumber)
	return m, err
}

func (m *Message) setText(num protowire.Number, text []byte) error {
	switch num {
	case fieldKind:
		return setString(&m.Kind, text)
	case fieldID:
		return setString(&m.ID, text)
	case fieldQueue:
		return setString(&m.Queue, text)
	case fieldError:
		return setString(&m.LastError, text)
	case fieldUniqueKey, fieldGroup:
		var unused string
		return setString(&unused, text)
	case fieldPayload:
		m.Payload = text
	case fieldHeaders:
		return m.addHeader(text)
	default: // asynq skips a field that it does not know
	}
	return nil
}

func (m *Message) setNumber(num protowire.Number, n uint64) {
	switch num {
	case fieldMaxRetry:
		m.MaxRetry = int(int32(n)) //nolint:gosec // the field is an int32; protobuf sends it in 64 bits
	case fieldRetried:
		m.Retried = int(int32(n)) //nolint:gosec // likewise
	case fieldTimeout:
		m.Timeout = seconds(int64(n)) //nolint:gosec // the field is an int64
	case fieldDeadline:
		m.Deadline = time.Time{}
		if n != 0 {
			m.Deadline = time.Unix(int64(n), 0) //nolint:gosec // the field is an int64
		}
	case fieldFailedAt:
		m.LastFailed = time.Time{}
		if n != 0 {
			m.LastFailed = time.Unix(int64(n), 0) //nolint:gosec // the field is an int64
		}
	default: // nobody here needs the others
	}
}

// seconds bounds what may be anybody's to what a Duration can say.
func seconds(n int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(min(max(n, -most), most)) * time.Second
}

func (m *Message) addHeader(entry []byte) error {
	var name, value string
	err := eachField(entry, func(num protowire.Number, text []byte) error {
		switch num {
		case 1:
			return setString(&name, text)
		case 2:
			return setString(&value, text)
		default: // a map's entry has two fields
			return nil
		}
	}, func(protowire.Number, uint64) {})
	if err != nil {
		return err
	}
	if m.Headers == nil {
		m.Headers = make(map[string]string)
	}
	m.Headers[name] = value
	return nil
}

func setString(s *string, text []byte) error {
	if !utf8.Valid(text) {
		return fmt.Errorf("%w: a text is not UTF-8", ErrUndecodable)
	}
	*s = string(text)
	return nil
}

// eachField hands out the fields that are bytes (length-delimited) and those that are numbers (varint). As in
// any protobuf decoder, one that is neither is skipped.
func eachField(raw []byte, text func(protowire.Number, []byte) error, number func(protowire.Number, uint64)) error {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrUndecodable, protowire.ParseError(n))
		}
		if !num.IsValid() {
			return fmt.Errorf("%w: field number %d", ErrUndecodable, num)
		}
		raw = raw[n:]
		var err error
		switch typ {
		case protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(raw); n >= 0 {
				err = text(num, v)
			}
		case protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(raw); n >= 0 {
				number(num, v)
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, raw)
		}
		if n < 0 {
			err = fmt.Errorf("%w: %w", ErrUndecodable, protowire.ParseError(n))
		}
		if err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}
