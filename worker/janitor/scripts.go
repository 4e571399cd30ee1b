package janitor

import "github.com/redis/go-redis/v9"

// The scripts know asynq v0.26.0's keys. Like asynq's own they make task keys of a prefix, which lies in the same slot of a
// Cluster as the queue's other keys. Lists are read from their tail, where tasks are fetched.

// dropWrongTypesLua deletes those of KEYS that are there and not of the type in ARGV. "count" is a string that INCR accepts: Lua's
// tonumber takes more for a number. What asynq counts never needs more digits than 18, so there is always room for one more.
const dropWrongTypesLua = `
local dropped = 0
for i, key in ipairs(KEYS) do
	local is, want = redis.call('TYPE', key).ok, ARGV[i]
	if want == 'count' then
		want = 'string'
		if is == 'string' then
			if redis.call('STRLEN', key) > 18 then
				is = 'no number'
			else
				local v = redis.call('GET', key)
				if v ~= '0' and not string.match(v, '^[1-9]%d*$') then is = 'no number' end
			end
		end
	end
	if is ~= 'none' and is ~= want then
		redis.call('UNLINK', key)
		dropped = dropped + 1
	end
end
return dropped`

// holdsTask says whether a key is what asynq makes of a task. One that is not is deleted: nobody could use it.
const holdsTask = `
local function holdsTask(key)
	if redis.call('TYPE', key).ok == 'hash' and redis.call('HEXISTS', key, 'msg') == 1 then return true end
	redis.call('UNLINK', key)
	return false
end
`

// walkListLua removes entries without a task. KEYS: list. ARGV: task key prefix, how many entries from the tail to leave out,
// how many to look at. It answers how many it saw and how many it removed.
const walkListLua = holdsTask + `
local skip, n = tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = redis.call('LRANGE', KEYS[1], -(skip + n), -(skip + 1))
local gone = 0
for i = #ids, 1, -1 do
	if not holdsTask(ARGV[1] .. ids[i]) then
		redis.call('LREM', KEYS[1], -1, ids[i])
		gone = gone + 1
	end
end
return {#ids, gone}`

// walkSetLua does likewise with a set of tasks that are due later. Where a task is to go into a group and the group's key is of
// another type, asynq would stop there each time: that key is deleted. ARGV[4]: group key prefix.
const walkSetLua = holdsTask + `
local skip, n = tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = redis.call('ZRANGE', KEYS[1], skip, skip + n - 1)
local gone = 0
for _, id in ipairs(ids) do
	if not holdsTask(ARGV[1] .. id) then
		redis.call('ZREM', KEYS[1], id)
		gone = gone + 1
	else
		local group = redis.call('HGET', ARGV[1] .. id, 'group')
		if group and group ~= '' then
			local is = redis.call('TYPE', ARGV[4] .. group).ok
			if is ~= 'none' and is ~= 'zset' then redis.call('UNLINK', ARGV[4] .. group) end
		end
	end
end
return {#ids, gone}`

// walkActiveLua removes entries without a task, and answers with those that no worker seems to have: without a lease, with one
// that is over, or with one longer than asynq gives. The others are left alone: an undecodable message's lease is over
// before asynq looks at it. KEYS: active, lease. ARGV: task key prefix, skip, n, longest lease (s), longest message (bytes).
// It answers how many entries it saw and removed, Redis's time, of each suspect the ID, message, its size and digest, and
// lease, and whether it stopped because there is much to read.
const walkActiveLua = holdsTask + `
local skip, n, longest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local now = tonumber(redis.call('TIME')[1])
local ids = redis.call('LRANGE', KEYS[1], -(skip + n), -(skip + 1))
local gone, suspects, bytes, seen = 0, {}, 0, 0
for i = #ids, 1, -1 do
	local id = ids[i]
	local key = ARGV[1] .. id
	seen = seen + 1
	if not holdsTask(key) then
		redis.call('LREM', KEYS[1], -1, id)
		redis.call('ZREM', KEYS[2], id)
		gone = gone + 1
	else
		local lease = redis.call('ZSCORE', KEYS[2], id)
		local ends = lease and tonumber(lease) -- nil too where it is of a form that not every Lua reads, such as 4e+09
		if not ends or ends <= now or ends > now + tonumber(ARGV[4]) then
			local msg = redis.call('HGET', key, 'msg')
			local row = {id, string.sub(msg, 1, longest), #msg, redis.sha1hex(msg), lease or ''}
			table.insert(suspects, row)
			bytes = bytes + math.min(#msg, longest)
			if bytes > 4 * longest then break end
		end
	end
end
return {seen, gone, now, suspects, seen < #ids and 1 or 0}`

// stillThere begins a script that acts upon an active task only if its message is the one that was looked at. KEYS: task,
// active, lease. ARGV: task ID, digest. Long lists are searched from the tail alone.
const stillThere = `
local msg = redis.pcall('HGET', KEYS[1], 'msg')
if type(msg) ~= 'string' or redis.sha1hex(msg) ~= ARGV[2] then return 0 end
local function leaveActive()
	local all = 0
	if redis.call('LLEN', KEYS[2]) > 5000 then all = -1 end
	redis.call('ZREM', KEYS[3], ARGV[1])
	return redis.call('LREM', KEYS[2], all, ARGV[1]) > 0
end
`

// removeActiveLua takes a message out of Redis that is no task of its name.
const removeActiveLua = stillThere + `
leaveActive()
redis.call('UNLINK', KEYS[1])
return 1`

// leaseActiveLua gives a task a lease if it has none, or one longer than asynq gives. ARGV: …, longest lease (s), lease (s).
const leaseActiveLua = stillThere + `
local now = tonumber(redis.call('TIME')[1])
local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
local ends = lease and tonumber(lease)
if ends and ends <= now + tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[4]), ARGV[1])
return 1`

// recoverActiveLua moves a task whose lease is over back to pending, or into the archive where its tries are used up, with a
// message that counts the try. KEYS: …, pending, archived. ARGV: …, lease as it was seen, message, state.
const recoverActiveLua = stillThere + `
if redis.call('ZSCORE', KEYS[3], ARGV[1]) ~= ARGV[3] then return 0 end
if not leaveActive() then return 0 end
redis.call('HSET', KEYS[1], 'msg', ARGV[4], 'state', ARGV[5])
if ARGV[5] == 'pending' then
	redis.call('LPUSH', KEYS[4], ARGV[1])
else
	redis.call('ZADD', KEYS[5], redis.call('TIME')[1], ARGV[1])
end
return 1`

// dropOrphansLua removes leases of tasks that are not active. Where the active list is very long, entries without a task are
// removed from that first. KEYS: lease, active. ARGV: skip, n. It answers how many it saw and removed.
const dropOrphansLua = `
if redis.call('LLEN', KEYS[2]) > 5000 then return {0, 0} end
local skip, n = tonumber(ARGV[1]), tonumber(ARGV[2])
local ids = redis.call('ZRANGE', KEYS[1], skip, skip + n - 1)
local gone = 0
for _, id in ipairs(ids) do
	if not redis.call('LPOS', KEYS[2], id) then
		redis.call('ZREM', KEYS[1], id)
		gone = gone + 1
	end
end
return {#ids, gone}`

type scripts struct {
	dropWrongTypes, walkList, walkSet, walkActive, removeActive, leaseActive, recoverActive, dropOrphans *redis.Script
}

func newScripts() scripts {
	return scripts{
		dropWrongTypes: redis.NewScript(dropWrongTypesLua),
		walkList:       redis.NewScript(walkListLua),
		walkSet:        redis.NewScript(walkSetLua),
		walkActive:     redis.NewScript(walkActiveLua),
		removeActive:   redis.NewScript(removeActiveLua),
		leaseActive:    redis.NewScript(leaseActiveLua),
		recoverActive:  redis.NewScript(recoverActiveLua),
		dropOrphans:    redis.NewScript(dropOrphansLua),
	}
}
