-- read_ends: nothing changes
-- Hands out ended tasks of a tenant, as they are stored: those that are named, or those that its feed tells after a
-- number. The output of a task with one last step comes along if it is no larger than `small_bytes`, while all such
-- outputs of a reply are no larger than `room_bytes`. What is read belongs together: nothing changes meanwhile.
-- Keys: feeds, feed, task, events.
-- Arguments: now, tenant, number, task that stood there or '', limit, small_bytes, room_bytes, count of fields, those
--   fields of each task, of which the first is `state` and the second `sinks`; then the names of tasks, in place of the
--   feed's.
-- Reply: {newest number of the feed, newest that was lost, task that stands at the number or nil, when the named task
--   ended or nil, rows}; a row is the values of the fields, then id, number in the feed or 0, count of events, bytes of
--   the output (-1 for several last steps), output or nil. Events: none.

local FIRST_FIELD = 9

-- Appends the row of a task; returns how much room its output leaves.
local function add_row(rows, fields, id, number, small_bytes, room_bytes)
  local key = K('task', id)
  local row = redis.call('HMGET', key, unpack(fields))
  local size, output = 0, false
  if row[1] == 'succeeded' then
    local sink = string.match(row[2] or '', '^%[(%d+)%]$')
    size = sink and redis.call('HSTRLEN', key, 'out:' .. sink) or -1
    if sink and size > 0 and size <= small_bytes and size <= room_bytes then
      output = redis.call('HGET', key, 'out:' .. sink)
      room_bytes = room_bytes - size
    end
  end
  local at = #fields
  row[at + 1], row[at + 2], row[at + 3] = id, tonumber(number or '') or 0, redis.call('LLEN', K('events', id))
  row[at + 4], row[at + 5] = size, output
  rows[#rows + 1] = row
  return room_bytes
end

local function read_ends(keys, args)
  begin(keys, args)
  local tenant, number, task = args[2], args[3], args[4]
  local small_bytes, room_bytes, count = tonumber(args[6]), tonumber(args[7]), tonumber(args[8])
  local fields, rows, feed = {}, {}, K('feed', tenant)
  for i = 1, count do fields[i] = args[FIRST_FIELD - 1 + i] end
  local ends = redis.call('HMGET', K('feeds'), tenant, tenant .. ':lost')
  local there = redis.call('ZRANGE', feed, number, number, 'BYSCORE')[1] or false
  local ended = task ~= '' and redis.call('HGET', K('task', task), 'ended')
  for i = FIRST_FIELD + count, #args do
    room_bytes = add_row(rows, fields, args[i], redis.call('ZSCORE', feed, args[i]), small_bytes, room_bytes)
  end
  if #args < FIRST_FIELD + count then
    local page = redis.call('ZRANGE', feed, '(' .. number, '+inf', 'BYSCORE', 'LIMIT', 0, args[5], 'WITHSCORES')
    for i = 1, #page, 2 do
      room_bytes = add_row(rows, fields, page[i], page[i + 1], small_bytes, room_bytes)
    end
  end
  return { tonumber(ends[1] or '') or 0, tonumber(ends[2] or '') or 0, there, ended, rows }
end

register('read_ends', read_ends, 'no-writes')
