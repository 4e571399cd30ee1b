package rawtask

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"
)

// Server is a worker's process, as it says of itself every few seconds (asynq v0.26.0, internal/proto/asynq.proto, ServerInfo). Like all else in
// Redis it may be anybody's invention.
type Server struct {
	ID          string
	Host        string
	PID         int
	Status      string // active, stopped, or closed
	Concurrency int
	Queues      map[string]int // and their weights
	Strict      bool           // it serves one queue only while those of higher weight are empty
	Started     time.Time
	Active      int   // tasks that it runs, as it says
	Runs        []Run // what they are, the longest running first
	Untold      int   // runs that are not among them: too many, too large, or not decodable
}

// Run is a task that a server runs.
type Run struct {
	TaskID, Kind, Queue string
	Started             time.Time
	Deadline            time.Time // zero: none
}

// What is read of servers.
const (
	// MaxServers is how many are told.
	MaxServers = 100
	// MaxRuns is how many runs are told of each.
	MaxRuns = 200

	maxServer  = 64 << 10 // bytes of what one says of itself
	maxRuns    = 1 << 20  // bytes of what one says of all its runs; payloads are among them
	serverKeys = "asynq:servers"
	workerKeys = "asynq:workers"
)

// namesSince lists the members of a sorted set from a score on: {name …}, those that are too long left out. KEYS: the set. ARGV: since, how many,
// the longest.
const namesSince = `
local found = redis.pcall('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])
if found.err then
	if string.find(found.err, 'WRONGTYPE', 1, true) then return {} end
	return redis.error_reply(found.err)
end
local names = {}
for _, name in ipairs(found) do
	if #name <= tonumber(ARGV[3]) then names[#names + 1] = name end
end
return names`

// readServer reads what a server says of itself and of its runs: {how many runs were left out, itself, run …}. KEYS: both. ARGV: the largest
// self, how many runs, their bytes.
const readServer = `
local function call(...)
	local r = redis.pcall(...)
	if type(r) == 'table' and r.err then
		if string.find(r.err, 'WRONGTYPE', 1, true) then return false end
		error(r.err)
	end
	return r
end
local own = call('GET', KEYS[1])
if not own or #own > tonumber(ARGV[1]) then return {0} end
local budget = tonumber(ARGV[3])
local told = {0, own}
for _, run in ipairs(call('HVALS', KEYS[2]) or {}) do
	if #told - 2 < tonumber(ARGV[2]) and #run <= budget then
		budget = budget - #run
		told[#told + 1] = run
	else
		told[1] = told[1] + 1
	end
end
return told`

// Servers tells which servers live at now: those that asynq keeps for it, in the order of their names, a hundred at most. What is no server's is left out.
func (l *Lister) Servers(ctx context.Context, now time.Time) ([]Server, error) {
	names, err := l.alive.Run(ctx, l.redis, []string{serverKeys}, now.Unix(), MaxServers, MaxID).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("list the servers: %w", err)
	}
	var all []Server
	for _, name := range names {
		// Both keys of a server have its name in braces, Redis Cluster's hash tag, so that they lie in one slot.
		rest, ok := strings.CutPrefix(name, serverKeys+":{")
		if !ok || strings.Index(rest, "}") != len(rest)-1 {
			continue
		}
		told, err := l.server.Run(ctx, l.redis, []string{name, workerKeys + ":{" + rest}, maxServer, MaxRuns, maxRuns).Slice()
		if err != nil {
			return nil, fmt.Errorf("read a server: %w", err)
		}
		if s, ok := serverOf(told); ok {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Server) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}

// serverOf takes apart what a server says. ok is false where it says nothing that can be understood.
func serverOf(told []any) (s Server, ok bool) {
	if len(told) < 2 {
		return Server{}, false
	}
	own, _ := told[1].(string)
	if eachField([]byte(own), s.setText, s.setNumber) != nil {
		return Server{}, false
	}
	untold, _ := told[0].(int64)
	s.Untold = int(untold)
	for _, raw := range texts(told[2:]) {
		var r Run
		if eachField([]byte(raw), r.setText, func(protowire.Number, uint64) {}) != nil {
			s.Untold++
			continue
		}
		s.Runs = append(s.Runs, r)
	}
	slices.SortFunc(s.Runs, func(a, b Run) int { return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.TaskID, b.TaskID)) })
	return s, true
}

func (s *Server) setText(num protowire.Number, text []byte) error {
	switch num {
	case 1:
		return setString(&s.Host, text)
	case 3:
		return setString(&s.ID, text)
	case 5:
		return s.addQueue(text)
	case 7:
		return setString(&s.Status, text)
	case 8:
		return setTime(&s.Started, text)
	default: // a field that asynq did not have then
		return nil
	}
}

func (s *Server) setNumber(num protowire.Number, n uint64) {
	switch num {
	case 2:
		s.PID = int(int32(n)) //nolint:gosec // the field is an int32; protobuf sends it in 64 bits
	case 4:
		s.Concurrency = int(int32(n)) //nolint:gosec // likewise
	case 6:
		s.Strict = n != 0
	case 9:
		s.Active = int(int32(n)) //nolint:gosec // likewise
	default: // likewise
	}
}

func (s *Server) addQueue(entry []byte) error {
	var name string
	weight := 0
	err := eachField(entry, func(num protowire.Number, text []byte) error {
		if num == 1 {
			return setString(&name, text)
		}
		return nil
	}, func(num protowire.Number, n uint64) {
		if num == 2 {
			weight = int(int32(n)) //nolint:gosec // likewise
		}
	})
	if err != nil {
		return err
	}
	if s.Queues == nil {
		s.Queues = make(map[string]int)
	}
	s.Queues[name] = weight
	return nil
}

func (r *Run) setText(num protowire.Number, text []byte) error {
	switch num {
	case 4:
		return setString(&r.TaskID, text)
	case 5:
		return setString(&r.Kind, text)
	case 7:
		return setString(&r.Queue, text)
	case 8:
		return setTime(&r.Started, text)
	case 9:
		return setTime(&r.Deadline, text)
	default:
		return nil
	}
}

// setTime reads a google.protobuf.Timestamp. What no clock shows is none.
func setTime(t *time.Time, raw []byte) error {
	var seconds int64
	err := eachField(raw, func(protowire.Number, []byte) error { return nil }, func(num protowire.Number, n uint64) {
		if num == 1 {
			seconds = int64(n) //nolint:gosec // the field is an int64
		}
	})
	if err != nil {
		return err
	}
	const latest = 253402300799 // 9999-12-31
	if *t = (time.Time{}); seconds > 0 && seconds <= latest {
		*t = time.Unix(seconds, 0)
	}
	return nil
}

// Day is how many runs of a queue's tasks ended on a day (UTC), by asynq's count, and how many of them in a failure. Whoever writes to Redis can
// fake both.
type Day struct {
	Date          time.Time
	Ended, Failed int64
}

// MaxDays is for how long asynq keeps them.
const MaxDays = 90

// countDays reads counters that are no longer than a number is: {ended, failed, …}. ARGV: …, date ….
const countDays = describeTask + `
local counts = {}
for i = 3, #ARGV do
	for _, name in ipairs({'processed:', 'failed:'}) do
		local n = call('GET', prefix .. name .. ARGV[i])
		counts[#counts + 1] = n and #n <= 19 and tonumber(n) or 0
	end
end
return counts`

// Days tells what a queue did on each of so many days, of which last is the last.
func (l *Lister) Days(ctx context.Context, queue string, last time.Time, days int) ([]Day, error) {
	prefix, err := prefixOf(queue)
	if err != nil {
		return nil, err
	}
	if days < 1 || days > MaxDays {
		return nil, fmt.Errorf("count days: 1 to %d can be told", MaxDays)
	}
	all := make([]Day, days)
	dates := make([]any, days)
	for i := range all {
		y, m, d := last.UTC().AddDate(0, 0, i-days+1).Date()
		all[i].Date = time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		dates[i] = all[i].Date.Format(time.DateOnly)
	}
	counts, err := l.run(ctx, l.days, prefix, 0, dates...)
	if err != nil {
		return nil, err
	}
	if len(counts) != 2*days {
		return nil, errors.New("count days: the script answered other than it should")
	}
	for i := range all {
		ended, _ := counts[2*i].(int64)
		failed, _ := counts[2*i+1].(int64)
		all[i].Ended = max(ended, 0)
		all[i].Failed = min(max(failed, 0), all[i].Ended)
	}
	return all, nil
}

// serverScripts are those of this file.
func serverScripts() (alive, server, days *redis.Script) {
	return redis.NewScript(namesSince), redis.NewScript(readServer), redis.NewScript(countDays)
}
