package rawtask

// What Redis holds may be of any size and type: each value is asked for its size first, and what is larger than the caller
// takes stays there. Keys are made of the prefix in KEYS[1], which has the queue's hash tag, so that each script runs where
// all of them are. Every script only reads.
//
// ARGV, in all of them: the largest message to be read, and the bytes of messages in this step.
const describeTask = `
local prefix = KEYS[1]
local most, budget = tonumber(ARGV[1]), tonumber(ARGV[2])
local function call(...)
	local r = redis.pcall(...)
	if type(r) == 'table' and r.err then
		if string.find(r.err, 'WRONGTYPE', 1, true) then return false end
		error(r.err)
	end
	return r
end
local function typeOf(key)
	local t = redis.call('TYPE', key)
	return type(t) == 'table' and t.ok or t
end
local function describe(id)
	local key = prefix .. 't:' .. id
	local kind = typeOf(key)
	local size, msg, state = -1, '', ''
	if kind == 'hash' then
		if redis.call('HSTRLEN', key, 'state') <= 32 then state = redis.call('HGET', key, 'state') or '' end
		if redis.call('HEXISTS', key, 'msg') == 1 then size = redis.call('HSTRLEN', key, 'msg') end
		if size > 0 and size <= most then
			if size > budget then return nil end
			budget = budget - size
			msg = redis.call('HGET', key, 'msg')
		end
	end
	local told = {string.sub(id, 1, 1024), #id, kind, size, msg, state}
	for _, set in ipairs({'lease', 'scheduled', 'retry', 'archived', 'completed'}) do
		told[#told + 1] = call('ZSCORE', prefix .. set, id) or ''
	end
	return told
end
`

// listPage describes the tasks of one list or set, from the end that is fetched next: {length, task …}, or {type} where it
// is of another type than ARGV[4]. It ends early where the messages become too many bytes.
// ARGV: … the place's name behind the prefix, its type, from, how many.
const listPage = describeTask + `
local place, want, from, n = prefix .. ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local kind = typeOf(place)
if kind == 'none' then return {0} end
if kind ~= want then return {kind} end
local page = {redis.call(want == 'list' and 'LLEN' or 'ZCARD', place)}
for i = from, from + n - 1 do
	local id
	if want == 'list' then
		id = redis.call('LINDEX', place, -i - 1)
	else
		id = redis.call('ZRANGE', place, i, i)[1]
	end
	if not id then break end
	local told = describe(id)
	if not told then break end
	page[#page + 1] = told
end
return page`

// lookAt describes one task and searches for it: {task, in pending, in active, in a group}, where 0 is no, 1 is yes and 2
// is that it was not searched to the end.
// ARGV: … the ID, how far a list is searched from each end.
const lookAt = describeTask + `
local id, reach = ARGV[3], tonumber(ARGV[4])
local function inList(name)
	local key = prefix .. name
	local length = call('LLEN', key)
	if not length or length == 0 then return 0 end
	if call('LPOS', key, id, 'MAXLEN', reach) or call('LPOS', key, id, 'RANK', -1, 'MAXLEN', reach) then return 1 end
	return length > 2 * reach and 2 or 0
end
local function inGroup()
	local key = prefix .. 't:' .. id
	local size = call('HSTRLEN', key, 'group')
	if not size or size == 0 or size > 1024 then return 0 end
	local group = redis.call('HGET', key, 'group')
	if call('ZSCORE', prefix .. 'g:' .. group, id) then return 1 end
	local start = prefix .. 'g:' .. group .. ':'
	for i = 0, 999 do
		local set = call('ZRANGE', prefix .. 'aggregation_sets', i, i)
		if not set or not set[1] then return 0 end
		if string.sub(set[1], 1, #start) == start and call('ZSCORE', set[1], id) then return 1 end
	end
	return 2
end
return {describe(id), inList('pending'), inList('active'), inGroup()}`

// countPlaces counts what each place holds, -1 where it is of another type than a list (the first ARGV[3] of the names in
// ARGV[4…]), a set (the last) or a sorted set.
const countPlaces = describeTask + `
local counts = {}
for i = 4, #ARGV do
	local key = prefix .. ARGV[i]
	local want, command = 'zset', 'ZCARD'
	if i - 3 <= tonumber(ARGV[3]) then want, command = 'list', 'LLEN' elseif i == #ARGV then want, command = 'set', 'SCARD' end
	local kind = typeOf(key)
	counts[#counts + 1] = kind == 'none' and 0 or kind == want and redis.call(command, key) or -1
end
return counts`

// namesPage reads a page of a set's members: {cursor, how many were left out for their length, name …}, or {type}. Members
// longer than ARGV[5] are no names of ours.
// KEYS[1] is the set's own. ARGV: …, cursor, count, the longest name.
const namesPage = describeTask + `
local kind = typeOf(prefix)
if kind == 'none' then return {'0', 0} end
if kind ~= 'set' then return {kind} end
local scanned = redis.call('SSCAN', prefix, ARGV[3], 'COUNT', ARGV[4])
local page = {scanned[1], 0}
for _, name in ipairs(scanned[2]) do
	if #name <= tonumber(ARGV[5]) then page[#page + 1] = name else page[2] = page[2] + 1 end
end
return page`

// setNames reads names of the aggregation sets that lie below the queue's groups: {how many were looked at, name …}.
// ARGV: … from, how many.
const setNames = describeTask + `
local key, start = prefix .. 'aggregation_sets', prefix .. 'g:'
local page = {0}
if typeOf(key) ~= 'zset' then return page end
for i = tonumber(ARGV[3]), ARGV[3] + ARGV[4] - 1 do
	local name = redis.call('ZRANGE', key, i, i)[1]
	if not name then break end
	page[1] = page[1] + 1
	if #name <= 4096 and string.sub(name, 1, #start) == start then page[#page + 1] = string.sub(name, #prefix + 1) end
end
return page`

// fingerprint makes long IDs short. Both scripts that use it must agree.
const fingerprint = `
local function mark(id) return #id <= 64 and id or '\0' .. redis.sha1hex(id) end
`

// listedIDs reads the fingerprints of a list's IDs: {length, fingerprint …}.
// ARGV: … the list's name, from, how many.
const listedIDs = describeTask + fingerprint + `
local place = prefix .. ARGV[3]
if typeOf(place) ~= 'list' then return {0} end
local page = {redis.call('LLEN', place)}
for i = tonumber(ARGV[4]), ARGV[4] + ARGV[5] - 1 do
	local id = redis.call('LINDEX', place, -i - 1)
	if not id then break end
	page[#page + 1] = mark(id)
end
return page`

// scanTasks looks at a page of the server's keys for tasks of the queue that no sorted set and no group holds:
// {cursor, {ID, fingerprint} …}. IDs that are too long to be told come without one.
// ARGV: … cursor, pattern, count.
const scanTasks = describeTask + fingerprint + `
local scanned = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[4], 'COUNT', ARGV[5])
local page = {scanned[1]}
local sets = {'scheduled', 'retry', 'archived', 'completed'}
for _, key in ipairs(scanned[2]) do
	local id = string.sub(key, #prefix + 3)
	local placed = false
	for _, set in ipairs(sets) do placed = placed or call('ZSCORE', prefix .. set, id) end
	if not placed then page[#page + 1] = {#id <= 1024 and id or '', mark(id)} end
end
return page`
