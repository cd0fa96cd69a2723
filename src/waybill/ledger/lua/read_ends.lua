-- read_ends: nothing changes
-- Hands out ended tasks of a tenant, as they are stored: those that are named, or those that its feed tells after a
-- number. The output of a task with one last step comes along if it is no larger than `small_bytes`, while all such
-- outputs of a reply are no larger than `room_bytes`. What is read belongs together: nothing changes meanwhile.
-- Keys: feeds, feed, task, events.
-- Arguments: now, tenant, number, task that stood there or '', limit, small_bytes, room_bytes; then the names of tasks, in
--   place of the feed's.
-- Reply: {newest number of the feed, newest that was lost, task that stands at the number or nil, when the named task
--   ended or nil, rows}; a row is state, numbers of the last steps (JSON), tenant, goal, priority, labels, template,
--   agents, what happens at the budget's limit, failure, policy, each nil if it is not set; revision, count of steps,
--   count of those that have not ended, times of creation, end, deadline and start, budget, reserved, and the six numbers of
--   the usage; then id, number in the feed or 0, count of events, bytes of the output (-1 for several last steps), output or nil;
--   of a task that is gone only the last five are told. Events: none.

local FIRST_TASK = 8
local FIELDS = 20 + #USAGE

-- Appends the row of a task; returns how much room its output leaves.
local function add_row(rows, id, number, small_bytes, room_bytes)
  local key, task, row, size, output = call.task .. id, Task.load(id), {}, 0, false
  if task then
    local v = redis.call('HMGET', key, 'sinks', 'goal', 'labels', 'template', 'agents', 'failure', 'policy', 'ended')
    local sinks = v[1] or task.steps > 0 and '[' .. task.steps .. ']'
    row = { task.state, sinks, task.tenant, v[2], task.priority, v[3], v[4], v[5], task.on_limit, v[6], v[7],
      task.revision, task.steps, task.open, task.created, tonumber(v[8] or '') or 0, task.deadline, task.start, task.budget,
      task.reserved }
    for i, field in ipairs(USAGE) do row[20 + i] = task[field] end
    if task.state == 'succeeded' then
      local sink = string.match(sinks or '', '^%[(%d+)%]$')
      size = sink and redis.call('HSTRLEN', key, 'out:' .. sink) or -1
      if sink and size > 0 and size <= small_bytes and size <= room_bytes then
        output = redis.call('HGET', key, 'out:' .. sink)
        room_bytes = room_bytes - size
      end
    end
  else
    for i = 1, FIELDS do row[i] = false end
  end
  row[FIELDS + 1], row[FIELDS + 2], row[FIELDS + 3] = id, tonumber(number or '') or 0, redis.call('LLEN', call.events .. id)
  row[FIELDS + 4], row[FIELDS + 5] = size, output
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
