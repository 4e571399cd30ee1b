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
func (h *header) claims(t *Task) Claims {
	effect, ok := t.Headers[EffectHeader]
	if !ok {
		effect = t.ID
	}
	return Claims{
		Kind: t.Kind, ID: t.ID, Queue: t.Queue, Effect: effect, KID: h.kid, MaxRetry: t.MaxRetry, Encrypted: h.encrypted(),
		IssuedAt: time.UnixMilli(h.iat).UTC(), NotBefore: time.UnixMilli(h.nbf).UTC(), Expires: time.UnixMilli(h.exp).UTC(),
	}
}

// scratch is the memory of one signing or verifying. Keys pools it.
type scratch struct {
	header  header
	raw     [signatureSize]byte
	text    [signatureTextSize]byte
	tag     [tagSize]byte
	names   []string // the names of the headers that are signed, sorted
	context []byte
}

type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) get() *scratch {
	if s, ok := p.pool.Get().(*scratch); ok {
		return s
	}
	return &scratch{names: make([]string, 0, 16), context: make([]byte, 0, 1024)}
}

func (p *scratchPool) put(s *scratch) {
	clear(s.names) // keep no task's memory alive
	s.names = s.names[:0]
	if cap(s.context) > 64<<10 {
		return // one huge task must not cost memory for ever
	}
	p.pool.Put(s)
}

// sortNames collects the names of the signed headers, sorted bytewise.
func (s *scratch) sortNames(headers map[string]string) {
	clear(s.names)
	s.names = s.names[:0]
	for name := range headers {
		if name != SignatureHeader {
			s.names = append(s.names, name)
		}
	}
	slices.Sort(s.names)
}

// setContext writes what the tag covers before the payload. sortNames ran before, and limits hold.
func (s *scratch) setContext(audience string, t *Task) {
	c := append(s.context[:0], labelTask...)
	c = append(c, s.raw[:offsetTag]...)
	c = appendString(c, audience)
	c = appendString(c, t.Queue)
	c = appendString(c, t.Kind)
	c = appendString(c, t.ID)
	c = binary.BigEndian.AppendUint32(c, uint32(t.MaxRetry))   //nolint:gosec // limits.check refuses what does not fit
	c = binary.BigEndian.AppendUint16(c, uint16(len(s.names))) //nolint:gosec // Options refuses limits over 65,535
	for _, name := range s.names {
		c = appendString(c, name)
		c = appendString(c, t.Headers[name])
	}
	s.context = c
}

// setTag computes the tag over the context and L(payload).
func (s *scratch) setTag(mac *keyedMAC, payload []byte) {
	n := len(s.context)
	s.context = binary.BigEndian.AppendUint32(s.context, uint32(len(payload))) //nolint:gosec // limits hold
	mac.sum(&s.tag, s.context, payload)
	s.context = s.context[:n] // encryption authenticates the context alone
}

// sign completes raw, whose header and context are set, and appends its text to dst.
func (s *scratch) sign(dst []byte, mac *keyedMAC, payload []byte) []byte {
	s.setTag(mac, payload)
	copy(s.raw[offsetTag:], s.tag[:])
	return base64.RawURLEncoding.AppendEncode(dst, s.raw[:])
}

// decode reads the signature's text into raw. Go's decoder skips CR and LF, strict or not: they are refused first.
func (s *scratch) decode(sig string) bool {
	if len(sig) != signatureTextSize || strings.ContainsAny(sig, "\r\n") {
		return false
	}
	copy(s.text[:], sig)
	n, err := base64.RawURLEncoding.Strict().Decode(s.raw[:], s.text[:])
	return err == nil && n == signatureSize
}
