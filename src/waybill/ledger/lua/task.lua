-- A task in memory during a call: loaded once, changed as a table, written once.

local TASK_FIELDS = {
  'state', 'tenant', 'priority', 'revision', 'steps', 'open', 'running', 'outcome', 'created', 'wait', 'run',
  'input_tokens', 'output_tokens', 'cost', 'trace', 'failure', 'start', 'on_failure', 'deadline', 'letters', 'round',
  'cached', 'reasoning', 'estimated', 'budget', 'on_limit', 'reserved', 'open_calls',
  'revising', 'revisions', 'added', 'added_bytes', 'schedule',
}

-- Numbers that few tasks have or that few calls change; written only then.
local RARE_FIELDS = { 'reserved', 'open_calls', 'budget', 'revising', 'revisions', 'added', 'added_bytes', 'round',
  'start', 'revision', 'steps', 'input_tokens', 'output_tokens', 'cost', 'cached', 'reasoning', 'estimated' }

-- The task, or nil if there is none (any more).
function Task.load(id)
  local task = call.tasks[id]
  if task ~= nil then return task or nil end
  local v = redis.call('HMGET', K('task', id), unpack(TASK_FIELDS))
  if not v[1] then
    call.tasks[id] = false
    return nil
  end
  task = { id = id, step = {}, events = {}, changed = false }
  for i, field in ipairs(TASK_FIELDS) do task[field] = v[i] end
  for _, field in ipairs({ 'revision', 'steps', 'open', 'running', 'created', 'wait', 'run', 'input_tokens',
    'output_tokens', 'cost', 'deadline', 'round', 'cached', 'reasoning', 'estimated', 'budget', 'reserved',
    'open_calls', 'revising', 'revisions', 'added', 'added_bytes', 'start' }) do
    task[field] = tonumber(task[field]) or 0
  end
  task.loaded = {}
  for _, field in ipairs(RARE_FIELDS) do task.loaded[field] = task[field] end
  call.tasks[id] = task
  call.loaded[#call.loaded + 1] = task
  return task
end

-- Adds an event; `fields` is the rest of the JSON object, beginning with a comma, or ''.
function Task.event(task, type, fields)
  task.events[#task.events + 1] = '{"type":"' .. type .. '","time_ms":' .. integer(call.now) .. fields .. '}'
end

local function failure_json(failure)
  return failure and failure ~= '' and (',"failure":' .. failure) or ''
end

-- The deadline of a task, in the set of timers: as a step of number 0.
local function deadline_member(task)
  return task.id .. ':0:0'
end

-- (Re)starts the deadline, if the task has one: `span` milliseconds from now.
function Task.set_deadline(task, span)
  if not span or span == 0 then return end
  task.deadline, task.changed = call.now + span, true
  redis.call('ZADD', K('timers'), task.deadline, deadline_member(task))
end

-- Whether the planner works on the task in this round, so that it may call models for it.
function Task.is_planned(task, round)
  return (task.state == 'planning' or task.revising == 1) and task.round == round
end

-- PLANNING | RUNNING | PAUSED | CANCELLING | SCHEDULED -> `state`. Event: task_finished.
function Task.finish(task, state)
  Money.abandon_planner(task)
  Revision.over(task)
  Money.close(task)
  task.state, task.ended, task.changed = state, call.now, true
  if task.deadline > 0 then redis.call('ZREM', K('timers'), deadline_member(task)) end
  local failure = state == 'failed' and failure_json(task.failure) or ''
  Task.event(task, 'task_finished', string.format(',"state":"%s"%s%s,"elapsed_ms":%d',
    state, failure, Usage.json(task), math.max(0, call.now - (task.start > 0 and task.start or task.created))))
end

local function ring(task)
  local last = redis.call('RPUSH', K('events', task.id), unpack(task.events, 1, math.min(CHUNK, #task.events)))
  for first = CHUNK + 1, #task.events, CHUNK do
    last = redis.call('RPUSH', K('events', task.id), unpack(task.events, first,
      math.min(first + CHUNK - 1, #task.events)))
  end
  redis.call('PUBLISH', K('bell', task.id), integer(last))
  task.events = {}
end

-- When the ended task expires; with a count to keep, the oldest of its tenant go before their age.
local function keep_for_a_while(task)
  redis.call('ZADD', K('expiry'), task.ended + policy('retention_ms'), task.id)
  if policy('archive') == 1 then redis.call('ZADD', K('unarchived'), task.ended, task.id) end
  local most = policy('retention_count')
  if most == 0 then return end
  local ended = K('ended', task.tenant)
  redis.call('ZADD', ended, task.ended, task.id)
  local over = math.min(redis.call('ZCARD', ended) - most, CHUNK)
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', ended, 0, over - 1)) do
      redis.call('ZADD', K('expiry'), 'XX', 'LT', call.now, id)
      redis.call('ZREM', ended, id)
    end
  end
end

-- The tenant's feed tells that the task has ended; `tell_ends` writes it, once for all of a call.
local function tell_end(task)
  call.ends[task.tenant] = call.ends[task.tenant] or {}
  table.insert(call.ends[task.tenant], task.id)
end

local function tell_ends()
  for tenant, ids in pairs(call.ends) do
    local first, values = redis.call('HINCRBY', K('feeds'), tenant, #ids) - #ids, {}
    for i, id in ipairs(ids) do
      values[2 * i - 1], values[2 * i] = integer(first + i), id
    end
    in_chunks('ZADD', K('feed', tenant), values, 2)
    redis.call('PUBLISH', K('bell', 'feed:' .. tenant), integer(first + #ids))
  end
  call.ends = {}
end

-- What the archive has of an ended task is not all any more.
function Task.archive_again(task)
  local has_ended = task.state == 'succeeded' or task.state == 'failed' or task.state == 'cancelled'
  if has_ended and policy('archive') == 1 then redis.call('ZADD', K('unarchived'), 'NX', call.now, task.id) end
end

-- Takes back what `keep_for_a_while` and `tell_end` did.
function Task.keep_again(task)
  redis.call('ZREM', K('expiry'), task.id)
  redis.call('ZREM', K('unarchived'), task.id)
  redis.call('ZREM', K('ended', task.tenant), task.id)
  redis.call('ZREM', K('feed', task.tenant), task.id)
  if task.schedule then Schedule.task_again(task) end
  task.ended = 0
end

local function write(task)
  local v = {
    'state', task.state, 'open', integer(task.open), 'running', integer(task.running), 'wait', integer(task.wait),
    'run', integer(task.run),
  }
  for _, field in ipairs(RARE_FIELDS) do
    if task[field] ~= task.loaded[field] then
      v[#v + 1] = field
      v[#v + 1] = integer(task[field])
      task.loaded[field] = task[field]
    end
  end
  if task.deadline > 0 then
    v[#v + 1] = 'deadline'
    v[#v + 1] = integer(task.deadline)
  end
  for _, field in ipairs({ 'outcome', 'failure', 'letters', 'sinks', 'agents' }) do
    if task[field] then
      v[#v + 1] = field
      v[#v + 1] = task[field]
    end
  end
  if task.ended then
    v[#v + 1] = 'ended'
    v[#v + 1] = integer(task.ended)
    if task.ended > 0 then
      keep_for_a_while(task)
      tell_end(task)
      if task.schedule then Schedule.task_ended(task) end
    end
  end
  for _, step in pairs(task.step) do
    if step.changed then
      v[#v + 1] = 'run:' .. step.number
      v[#v + 1] = Step.pack(step)
      if step.output then
        v[#v + 1] = 'out:' .. step.number
        v[#v + 1] = step.output
      end
      if step.failure then
        v[#v + 1] = 'err:' .. step.number
        v[#v + 1] = step.failure
      end
      step.changed, step.output = false, nil
    end
    if step.respecified then
      v[#v + 1] = 'spec:' .. step.number
      v[#v + 1] = Step.pack_spec(step)
      if step.input then
        v[#v + 1] = 'in:' .. step.number
        v[#v + 1] = step.input
      end
      step.respecified, step.input = false, nil
    end
  end
  in_chunks('HSET', K('task', task.id), v, 2)
  task.changed, task.ended = false, nil
end

-- Writes every changed task, with one RPUSH and one PUBLISH each; then, for each tenant of whom some have ended, its feed.
flush = function()
  for _, task in ipairs(call.loaded) do
    if task.changed then write(task) end
    if #task.events > 0 then ring(task) end
  end
  if next(call.ends) then tell_ends() end
end
