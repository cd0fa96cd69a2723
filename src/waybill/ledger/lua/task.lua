-- A task in memory during a call: loaded once, changed as a table, written once.

-- What is read and written of every task lies in one field, `core`, msgpack: HEAD always, then TAIL, which few tasks have,
-- up to its last value. New fields go to the end of TAIL. Texts of any length are fields of their own: TEXTS, read when they are asked for.
local HEAD = { 'state', 'tenant', 'priority', 'created', 'revision', 'steps', 'open', 'running', 'wait', 'run', 'outcome',
  'planned', 'deadline', 'start' }
local TAIL = { 'input_tokens', 'output_tokens', 'cost', 'cached', 'reasoning', 'estimated', 'round', 'budget', 'on_limit',
  'on_failure', 'reserved', 'open_calls', 'revising', 'revisions', 'added', 'added_bytes', 'schedule' }
local FIELDS = { 'failure', 'letters', 'sinks', 'agents' }
local TEXTS = { trace = true, failure = true, letters = true }
-- What a task has of TAIL that has it not: a number is 0.
local NONE_OF = {}
for i = 1, #TAIL do NONE_OF[TAIL[i]] = 0 end
NONE_OF.on_limit, NONE_OF.on_failure, NONE_OF.schedule = false, false, false

local TASK = {
  __index = function(task, field)
    local none = NONE_OF[field]
    if none ~= nil then return none end
    if not TEXTS[field] then return nil end
    local value = not task.is_new and redis.call('HGET', call.task .. task.id, field)
    rawset(task, field, value)
    return value
  end,
  __newindex = function(task, field, value)
    if NONE_OF[field] ~= nil then task.more = true end
    rawset(task, field, value)
  end,
}

local function from_core(id, v)
  local task = { id = id, state = v[1], tenant = v[2], priority = v[3], created = v[4], revision = v[5], steps = v[6],
    open = v[7], running = v[8], wait = v[9], run = v[10], outcome = v[11], planned = v[12], deadline = v[13],
    start = v[14], more = false, step = {}, events = {}, changed = false, ended = false, fields = false, plan = false,
    is_new = false }
  if #v > #HEAD then
    task.more = true
    for i = #HEAD + 1, math.min(#v, #HEAD + #TAIL) do task[TAIL[i - #HEAD]] = v[i] end
  end
  return setmetatable(task, TASK)
end

function Task.pack(task)
  local v = { task.state, task.tenant, task.priority, task.created, task.revision, task.steps, task.open, task.running,
    task.wait, task.run, task.outcome, task.planned, task.deadline, task.start }
  if task.more then
    local last = #TAIL
    while last > 0 and task[TAIL[last]] == NONE_OF[TAIL[last]] do last = last - 1 end
    for i = 1, last do v[#HEAD + i] = task[TAIL[i]] end
  end
  return cmsgpack.pack(v)
end

-- A record as releases before this one wrote it, each value a field of its own; as the values of HEAD and TAIL, or nil.
local function read_old(id)
  local v = redis.call('HMGET', call.task .. id, unpack(HEAD))
  if not v[1] then return nil end
  local tail = redis.call('HMGET', call.task .. id, unpack(TAIL))
  for i = 4, #HEAD do
    if HEAD[i] ~= 'outcome' then v[i] = tonumber(v[i] or '') or 0 end
  end
  for i, field in ipairs(TAIL) do
    local none = NONE_OF[field]
    v[#HEAD + i] = none == 0 and (tonumber(tail[i] or '') or 0) or tail[i] or none
  end
  return v
end

-- The values of `core`; nil for what no code here can decode, as if there were no task.
local function decoded(core)
  local readable, v = pcall(cmsgpack.unpack, core)
  if not readable or type(v) ~= 'table' or #v < #HEAD then return nil end
  for i = 1, #HEAD do
    local type = type(v[i])
    if i <= 3 and type ~= 'string' or i > 3 and i ~= 11 and type ~= 'number' then return nil end
  end
  return v
end

-- Registers the task in this call, or that there is none.
local function keep(id, v)
  local task = v and from_core(id, v)
  call.tasks[id] = task or false
  if task then call.loaded[#call.loaded + 1] = task end
  return task or nil
end

-- The task, or nil if there is none (any more).
function Task.load(id)
  local task = call.tasks[id]
  if task ~= nil then return task or nil end
  local core = redis.call('HGET', call.task .. id, 'core')
  if core then return keep(id, decoded(core)) end
  return keep(id, read_old(id))
end

-- The state of a task of which nothing else is wanted, or nil if there is none (any more).
function Task.state_of(id)
  local task = call.tasks[id]
  if task ~= nil then return task and task.state or nil end
  local v = redis.call('HMGET', call.task .. id, 'core', 'state')
  local values = v[1] and decoded(v[1])
  return values and values[1] or v[2] or nil
end

-- A task that is about to be accepted, from the values of HEAD.
function Task.new(id, v)
  local task = keep(id, v)
  task.is_new, task.changed = true, true
  return task
end

-- A step and its task, in one read if neither is known; nothing if there is no such task or step (any more). With `to_claim`
-- the step's input, as `given`, and its task's trace come with it.
function Task.find(id, number, to_claim)
  local task = call.tasks[id]
  if task == false then return nil end
  if not task then
    local v
    if to_claim then
      v = redis.call('HMGET', call.task .. id, 'core', 'run:' .. number, 'spec:' .. number, 'in:' .. number, 'trace')
    else
      v = redis.call('HMGET', call.task .. id, 'core', 'run:' .. number, 'spec:' .. number)
    end
    if v[1] then task = keep(id, decoded(v[1])) else task = keep(id, read_old(id)) end
    if not task or not v[2] then return task end
    local step = Step.read(task, number, v[2], v[3])
    if to_claim then
      task.trace, step.given = v[5], v[4] or ''
    end
    return task, step
  end
  return task, Step.load(task, number, to_claim)
end

-- Adds an event; `fields` is the rest of the JSON object, beginning with a comma, or ''.
function Task.event(task, type, fields)
  local events = task.events
  events[#events + 1] = '{"type":"' .. type .. call.stamp .. fields .. '}'
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
  Task.event(task, 'task_finished', ',"state":"' .. state .. '"' .. failure .. Usage.json(task) .. ',"elapsed_ms":'
    .. math.max(0, call.now - (task.start > 0 and task.start or task.created)))
end

local function ring(task)
  local events, key, last = task.events, call.events .. task.id, nil
  for first = 1, #events, CHUNK do
    last = redis.call('RPUSH', key, unpack(events, first, math.min(first + CHUNK - 1, #events)))
  end
  redis.call('PUBLISH', call.bell .. task.id, last)
  task.events = {}
end

-- When the ended task expires; with a count to keep, the oldest of its tenant go before their age.
local function keep_for_a_while(task)
  local expiring, most = call.expiring, policy('retention_count')
  expiring[#expiring + 1] = task.ended + policy('retention_ms')
  expiring[#expiring + 1] = task.id
  if policy('archive') == 1 then redis.call('ZADD', K('unarchived'), task.ended, task.id) end
  if most == 0 then return end
  local ended = K('ended', task.tenant)
  redis.call('ZADD', ended, task.ended, task.id)
  local over = math.min(redis.call('ZCARD', ended) - most, CHUNK)
  if over > 0 then
    in_chunks('ZADD', K('expiry'), expiring, 2)
    call.expiring = {}
    for _, id in ipairs(redis.call('ZRANGE', ended, 0, over - 1)) do
      redis.call('ZADD', K('expiry'), 'XX', 'LT', call.now, id)
      redis.call('ZREM', ended, id)
    end
  end
end

-- The tenant's feed tells that the task has ended; `tell_ends` writes it, once for all of a call.
local function tell_end(task)
  local ends = call.ends[task.tenant] or {}
  call.ends[task.tenant] = ends
  ends[#ends + 1] = task.id
end

local function tell_ends()
  for tenant, ids in pairs(call.ends) do
    local first, values = redis.call('HINCRBY', K('feeds'), tenant, #ids) - #ids, {}
    for i, id in ipairs(ids) do
      values[2 * i - 1], values[2 * i] = first + i, id
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

-- Fields that the task itself has: its plan's steps come before those that have changed, as the last value of a field counts.
local function add_fields(task, v)
  for i = 1, #FIELDS do
    local field = FIELDS[i]
    local value = rawget(task, field)
    if value then
      v[#v + 1] = field
      v[#v + 1] = value
    end
  end
  if task.fields then
    local fields, last = task.fields, #v
    for i = 1, #fields do v[last + i] = fields[i] end
    task.fields = false
  end
  if task.plan then
    Step.add_plan(task.plan, v)
    task.plan = false
  end
  if task.ended then
    v[#v + 1] = 'ended'
    v[#v + 1] = integer(task.ended)
    if task.ended > 0 then
      keep_for_a_while(task)
      tell_end(task)
      if task.schedule then Schedule.task_ended(task) end
    end
    task.ended = false
  end
end

local function write(task)
  local v = { 'core', Task.pack(task) }
  add_fields(task, v)
  for number, step in pairs(task.step) do
    if step.changed then
      local last = #v
      v[last + 1], v[last + 2] = 'run:' .. number, Step.pack(step)
      if step.output then
        v[last + 3], v[last + 4] = 'out:' .. number, step.output
        last = last + 2
      end
      if step.failure then v[last + 3], v[last + 4] = 'err:' .. number, step.failure end
      step.changed, step.output = false, false
    end
    if step.respecified then
      v[#v + 1] = 'spec:' .. number
      v[#v + 1] = Step.pack_spec(step)
      if step.input then
        v[#v + 1] = 'in:' .. number
        v[#v + 1] = step.input
      end
      step.respecified, step.input = false, nil
    end
  end
  in_chunks('HSET', call.task .. task.id, v, 2)
  task.changed, task.is_new = false, false
end

-- Writes every changed task, with one RPUSH and one PUBLISH each; then what is kept of several together.
flush = function()
  for _, task in ipairs(call.loaded) do
    if task.changed then write(task) end
    if #task.events > 0 then ring(task) end
  end
  Worker.write_held()
  for tenant, values in pairs(call.indexed) do in_chunks('ZADD', K('index', tenant), values, 2) end
  in_chunks('ZADD', K('expiry'), call.expiring, 2)
  call.indexed, call.expiring = {}, {}
  if next(call.ends) then tell_ends() end
end
