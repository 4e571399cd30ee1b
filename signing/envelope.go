package signing

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// SignatureHeader is the task header that carries the signature.
	SignatureHeader = "sealq-sig"
	// EffectHeader is the task header that names the effect; without it the effect's ID is the task's.
	EffectHeader = "sealq-effect"
)

// The signature's layout, version 1. All integers are big-endian.
const (
	version1      = 1
	flagEncrypted = 1 << 0

	offsetFlags = 1
	offsetKID   = 2
	offsetIAT   = 6
	offsetNBF   = 14
	offsetEXP   = 22
	offsetNonce = 30
	offsetTag   = 46

	nonceSize         = offsetTag - offsetNonce
	tagSize           = 32
	signatureSize     = offsetTag + tagSize
	signatureTextSize = (signatureSize*8 + 5) / 6 // 104, with no bits left over

	// joinLimit is up to which size a payload is copied behind its context, in bytes: one write to the hash is faster than
	// two, because the second begins within a block.
	joinLimit = 2 << 10

	// maxMillis is 9999-12-31T23:59:59.999Z, the last time that RFC 3339 writes. Whatever a signature puts after it counts as
	// it, which no lifetime reaches; the sums of times below stay far from overflow.
	maxMillis = 253402300799999
)

// Task is what is signed: all that the queue will hand to the worker.
type Task struct {
	Kind     string            // the task's type; not empty
	ID       string            // the task's ID; not empty
	Queue    string            // the queue it is enqueued in; not empty
	MaxRetry int               // the retries it is enqueued with, 0 to 2³²−1
	Headers  map[string]string // all of its headers; [SignatureHeader] is left out by itself
	Payload  []byte            // as it travels: plain when signing, encrypted or plain when verifying
}

// Claims is what a good signature says.
type Claims struct {
	Kind, ID, Queue string
	Effect          string // what the job does once: the header [EffectHeader], or the task's ID
	KID             KID
	IssuedAt        time.Time
	NotBefore       time.Time
	Expires         time.Time
	MaxRetry        int
	Encrypted       bool
}

// header is the part of a signature before its tag. Times are Unix milliseconds.
type header struct {
	flags         byte
	kid           KID
	iat, nbf, exp int64
	nonce         [nonceSize]byte
}

func (h *header) encrypted() bool { return h.flags&flagEncrypted != 0 }

// put writes the bytes before the tag.
func (h *header) put(raw *[signatureSize]byte) {
	raw[0] = version1
	raw[offsetFlags] = h.flags
	copy(raw[offsetKID:], h.kid[:])
	binary.BigEndian.PutUint64(raw[offsetIAT:], uint64(h.iat)) //nolint:gosec // times before 1970 are refused before
	binary.BigEndian.PutUint64(raw[offsetNBF:], uint64(h.nbf)) //nolint:gosec // as above
	binary.BigEndian.PutUint64(raw[offsetEXP:], uint64(h.exp)) //nolint:gosec // as above
	copy(raw[offsetNonce:], h.nonce[:])
}

// read reads the bytes before the tag; the version and flags are checked by the caller.
func (h *header) read(raw *[signatureSize]byte) {
	h.flags = raw[offsetFlags]
	h.kid = KID(raw[offsetKID:offsetIAT])
	h.iat = millis(raw[offsetIAT:])
	h.nbf = millis(raw[offsetNBF:])
	h.exp = millis(raw[offsetEXP:])
	h.nonce = [nonceSize]byte(raw[offsetNonce:offsetTag])
}

func millis(b []byte) int64 { return int64(min(binary.BigEndian.Uint64(b), maxMillis)) }

// claims says what the header and the task say together. Only authentic ones may leave the package.
func (h *header) claims(t *Task, effect string) Claims {
	return Claims{
		Kind: t.Kind, ID: t.ID, Queue: t.Queue, Effect: effect, KID: h.kid, MaxRetry: t.MaxRetry, Encrypted: h.encrypted(),
		IssuedAt: time.UnixMilli(h.iat).UTC(), NotBefore: time.UnixMilli(h.nbf).UTC(), Expires: time.UnixMilli(h.exp).UTC(),
	}
}

// field is a header that is signed.
type field struct{ name, value string }

// scratch is the memory of one signing or verifying. Keys pools it.
type scratch struct {
	header  header
	raw     [signatureSize]byte
	text    [signatureTextSize]byte
	tag     [tagSize]byte
	fields  []field // the headers that are signed
	effect  string  // what the job does once
	context []byte

	// The state that was used last stays here, because mostly the same key comes again.
	mac   *keyedMAC
	state *macState
}

type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) get() *scratch {
	if s, ok := p.pool.Get().(*scratch); ok {
		return s
	}
	return &scratch{fields: make([]field, 0, 16), context: make([]byte, 0, 1024)}
}

func (p *scratchPool) put(s *scratch) {
	clear(s.fields) // keep no task's memory alive
	s.fields, s.effect = s.fields[:0], ""
	if cap(s.context) > 64<<10 {
		return // one huge task must not cost memory for ever
	}
	p.pool.Put(s)
}

// collect gathers the headers that are signed and what they name, and says which limit the task breaks, or nothing. It reads
// lengths only, so that a huge task costs little. The two headers of our own are looked up: where there is no other, the map
// need not be walked, which costs a tenth of the tag. It is called once between get and put.
func (s *scratch) collect(o *Options, t *Task) string {
	if problem := o.exceeded(t); problem != "" {
		return problem
	}
	s.effect = t.ID
	others := len(t.Headers)
	if others == 0 {
		return ""
	}
	if _, ok := t.Headers[SignatureHeader]; ok {
		others--
	}
	if effect, ok := t.Headers[EffectHeader]; ok {
		if effect == "" {
			return "the header " + EffectHeader + " is empty"
		}
		others--
		s.effect = effect
		s.fields = append(s.fields, field{EffectHeader, effect})
	}
	if len(s.fields)+others > o.MaxHeaders {
		return "there are too many headers"
	}
	if others > 0 {
		for name, value := range t.Headers {
			if name != SignatureHeader && name != EffectHeader {
				s.fields = append(s.fields, field{name, value})
			}
		}
	}
	total := 0
	for i := range s.fields {
		name, value := len(s.fields[i].name), len(s.fields[i].value)
		total += name + value
		if name > o.MaxHeaderName || value > o.MaxHeaderValue || total > o.MaxHeaderTotal {
			return "a header's name or value, or all of them together, are over the limit"
		}
	}
	return ""
}

// setContext writes what the tag covers before the payload. collect ran before and found no problem.
func (s *scratch) setContext(audience string, t *Task) {
	if len(s.fields) > 1 {
		slices.SortFunc(s.fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	}
	c := append(s.context[:0], labelTask...)
	c = append(c, s.raw[:offsetTag]...)
	c = appendString(c, audience)
	c = appendString(c, t.Queue)
	c = appendString(c, t.Kind)
	c = appendString(c, t.ID)
	c = binary.BigEndian.AppendUint32(c, uint32(t.MaxRetry))    //nolint:gosec // collect refuses what does not fit
	c = binary.BigEndian.AppendUint16(c, uint16(len(s.fields))) //nolint:gosec // Options refuses limits over 65,535
	for i := range s.fields {
		c = appendString(c, s.fields[i].name)
		c = appendString(c, s.fields[i].value)
	}
	s.context = c
}

// isASCII reports whether every text in the context is ASCII, and so UTF-8. A length of 128 or more makes it false too.
func (s *scratch) isASCII() bool {
	texts := s.context[len(labelTask)+offsetTag:]
	var high uint64
	for len(texts) >= 32 {
		high |= binary.LittleEndian.Uint64(texts) | binary.LittleEndian.Uint64(texts[8:]) |
			binary.LittleEndian.Uint64(texts[16:]) | binary.LittleEndian.Uint64(texts[24:])
		texts = texts[32:]
	}
	for _, b := range texts {
		high |= uint64(b)
	}
	return high&0x8080808080808080 == 0
}

// setTag computes the tag over the context and L(payload).
func (s *scratch) setTag(mac *keyedMAC, payload []byte) {
	n := len(s.context)
	s.context = binary.BigEndian.AppendUint32(s.context, uint32(len(payload))) //nolint:gosec // limits hold
	if len(payload) <= joinLimit {
		s.context = append(s.context, payload...)
		payload = nil
	}
	if s.mac != mac {
		if s.mac != nil {
			s.mac.put(s.state)
		}
		s.mac, s.state = mac, mac.get()
	}
	s.state.sum(&s.tag, s.context, payload)
	s.context = s.context[:n] // encryption authenticates the context alone
}

// sign completes raw, whose header and context are set, and appends its text to dst.
func (s *scratch) sign(dst []byte, mac *keyedMAC, payload []byte) []byte {
	s.setTag(mac, payload)
	copy(s.raw[offsetTag:], s.tag[:])
	s.encode()
	return append(dst, s.text[:]...)
}

// encode writes raw as base64url into text, six bytes at a time: two thirds of what the library's encoder takes, which was a
// tenth of signing. 78 is a multiple of six.
func (s *scratch) encode() {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for from, to := 0, 0; from < signatureSize; from, to = from+6, to+8 {
		six := s.raw[from : from+6 : from+6]
		bits := uint64(binary.BigEndian.Uint32(six))<<16 | uint64(binary.BigEndian.Uint16(six[4:]))
		eight := s.text[to : to+8 : to+8]
		eight[0], eight[1] = alphabet[bits>>42&63], alphabet[bits>>36&63]
		eight[2], eight[3] = alphabet[bits>>30&63], alphabet[bits>>24&63]
		eight[4], eight[5] = alphabet[bits>>18&63], alphabet[bits>>12&63]
		eight[6], eight[7] = alphabet[bits>>6&63], alphabet[bits&63]
	}
}

// decode reads the signature's text into raw. Go's decoder skips CR and LF, strict or not; a text with them decodes to fewer
// bytes than 104 characters of the alphabet do. There are no bits left over for strictness to look at.
func (s *scratch) decode(sig string) bool {
	if len(sig) != signatureTextSize {
		return false
	}
	copy(s.text[:], sig)
	n, err := base64.RawURLEncoding.Decode(s.raw[:], s.text[:])
	return err == nil && n == signatureSize
}
