-- read_ends: nothing changes
-- Hands out ended tasks of a tenant, as they are stored: those that are named, or those that its feed tells after a
-- number. The output of a task with one last step comes along if it is no larger than `small_bytes`, while all such
-- outputs of a reply are no larger than `room_bytes`. What is read belongs together: nothing changes meanwhile.
-- Keys: feeds, feed, task, events.
-- Arguments: now, tenant, number, task that stood there or '', limit, small_bytes, room_bytes; then the names of tasks, in
--   place of the feed's.
-- Reply: {newest number of the feed, newest that was lost, task that stands at the number or nil, when the named task
--   ended or nil, rows}; a row is the values of FIELDS as they are stored, then id, number in the feed or 0, count of
--   events, bytes of the output (-1 for several last steps), output or nil. Events: none.

local FIRST_TASK = 8
local FIELDS = { 'core', 'sinks', 'goal', 'labels', 'template', 'agents', 'failure', 'policy', 'ended' }

-- The number of the one last step of a task, if it is one; as a plan is first written, that is the last one.
local function sink_of(core, sinks)
  if sinks then return string.match(sinks, '^%[(%d+)%]$') end
  local steps = Task.steps_of(core)
  return steps > 0 and integer(steps) or nil
end

-- Appends the row of a task; returns how much room its output leaves. Nothing is decoded that the reader can decode.
local function add_row(rows, id, number, small_bytes, room_bytes)
  local key, size, output = call.task .. id, 0, false
  local row = redis.call('HMGET', key, unpack(FIELDS))
  if not row[1] then
    local old = Task.load(id)
    row[1] = old and Task.pack(old) or false
  end
  if row[1] and Task.has_succeeded(row[1]) then
    local sink = sink_of(row[1], row[2])
    size = sink and redis.call('HSTRLEN', key, 'out:' .. sink) or -1
    if sink and size > 0 and size <= small_bytes and size <= room_bytes then
      output = redis.call('HGET', key, 'out:' .. sink)
      room_bytes = room_bytes - size
    end
  end
  local at = #FIELDS
  row[at + 1], row[at + 2], row[at + 3] = id, tonumber(number or '') or 0, redis.call('LLEN', call.events .. id)
  row[at + 4], row[at + 5] = size, output
  rows[#rows + 1] = row
  return room_bytes
end

local function read_ends(keys, args)
  begin(keys, args)
  local tenant, number, task = args[2], args[3], args[4]
  local small_bytes, room_bytes = tonumber(args[6]), tonumber(args[7])
  local rows, feed = {}, K('feed', tenant)
  local ends = redis.call('HMGET', K('feeds'), tenant, tenant .. ':lost')
  local there = redis.call('ZRANGE', feed, number, number, 'BYSCORE')[1] or false
  local ended = task ~= '' and redis.call('HGET', K('task', task), 'ended')
  for i = FIRST_TASK, #args do
    room_bytes = add_row(rows, args[i], redis.call('ZSCORE', feed, args[i]), small_bytes, room_bytes)
  end
  if #args < FIRST_TASK then
    local page = redis.call('ZRANGE', feed, '(' .. number, '+inf', 'BYSCORE', 'LIMIT', 0, args[5], 'WITHSCORES')
    for i = 1, #page, 2 do
      room_bytes = add_row(rows, page[i], page[i + 1], small_bytes, room_bytes)
    end
  end
  return { tonumber(ends[1] or '') or 0, tonumber(ends[2] or '') or 0, there, ended, rows }
end

register('read_ends', read_ends, 'no-writes')
