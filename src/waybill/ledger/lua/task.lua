-- A task in memory during a call: loaded once, changed as a table, written once.

-- What is read and written of every task lies in one field, `core`: what all have, packed by CORE; then, msgpack, what few
-- have, TAIL, up to its last value. New fields go to the end of TAIL. Texts of any length are fields of their own
-- (`Task.text`). A table of more than 16 names takes memory that allocators are slow to give, so few tasks have more.
local CORE = '<BBI6I4I4I4I6I6s'
local TAIL = { 'revision', 'outcome', 'planned', 'deadline', 'start', 'input_tokens', 'output_tokens', 'cost', 'cached',
  'reasoning', 'estimated', 'round', 'budget', 'on_limit', 'on_failure', 'reserved', 'open_calls', 'revising', 'revisions',
  'added', 'added_bytes', 'schedule' }
local FIELDS = { 'failure', 'letters', 'sinks', 'agents' }
local STATES = { 'scheduled', 'planning', 'running', 'paused', 'cancelling', 'succeeded', 'failed', 'cancelled' }
local STATE_NUMBERS, PRIORITY_NUMBERS = {}, {}
for i = 1, #STATES do STATE_NUMBERS[STATES[i]] = i end
for i = 1, #PRIORITIES do PRIORITY_NUMBERS[PRIORITIES[i]] = i end
-- What a task has of TAIL that has it not: a number is 0, a text false. A plan's first revision is none that is told, and it
-- was made when the task was, unless `planned` tells another time.
local NONE_OF = {}
for i = 1, #TAIL do NONE_OF[TAIL[i]] = 0 end
NONE_OF.revision = 1
NONE_OF.outcome, NONE_OF.on_limit, NONE_OF.on_failure, NONE_OF.schedule = false, false, false, false

local TASK = {
  __index = NONE_OF,
  __newindex = function(task, field, value)
    rawset(task, NONE_OF[field] ~= nil and 'more' or 'has_texts', true)
    rawset(task, field, value)
  end,
}

local function made(id, state, priority, created, steps, open, running, wait, run, tenant)
  return setmetatable({ id = id, state = state, tenant = tenant, priority = priority, created = created, steps = steps,
    open = open, running = running, wait = wait, run = run, more = false, step = {}, events = {}, changed = false,
    ended = false, new = false }, TASK)
end

function Task.pack(task)
  local core = struct.pack(CORE, STATE_NUMBERS[task.state], PRIORITY_NUMBERS[task.priority], task.created, task.steps,
    task.open, task.running, task.wait, task.run, task.tenant)
  if not task.more then return core end
  local last, v = #TAIL, {}
  while last > 0 and task[TAIL[last]] == NONE_OF[TAIL[last]] do last = last - 1 end
  if last == 0 then return core end
  for i = 1, last do v[i] = task[TAIL[i]] end
  return core .. cmsgpack.pack(v)
end

-- A task from its core. Raises for what is none.
local function from_core(id, core)
  local state, priority, created, steps, open, running, wait, run, tenant, at = struct.unpack(CORE, core)
  local task = made(id, STATES[state], PRIORITIES[priority], created, steps, open, running, wait, run, tenant)
  if not task.state or not task.priority then error('no such state or priority') end
  if at <= #core then
    local v = cmsgpack.unpack(string.sub(core, at))
    for i = 1, math.min(#v, #TAIL) do
      if v[i] ~= NONE_OF[TAIL[i]] then task[TAIL[i]] = v[i] end
    end
  end
  return task
end

-- A task as the release before this one wrote it, each value a field of its own; or nil.
local function read_old(id)
  local key = call.task .. id
  local v = redis.call('HMGET', key, 'state', 'tenant', 'priority', 'created', 'steps', 'open', 'running', 'wait', 'run')
  if not v[1] or not STATE_NUMBERS[v[1]] then return nil end
  for i = 4, 9 do v[i] = tonumber(v[i] or '') or 0 end
  local task = made(id, v[1], PRIORITY_NUMBERS[v[3]] and v[3] or 'normal', v[4], v[5], v[6], v[7], v[8], v[9], v[2] or '')
  local tail = redis.call('HMGET', key, unpack(TAIL))
  for i, field in ipairs(TAIL) do
    local none, value = NONE_OF[field], tail[i]
    if none ~= false then value = tonumber(value or '') or 0 end
    if value ~= none then task[field] = value end
  end
  return task
end

-- A text of the task that is a field of its own, or false.
function Task.text(task, field)
  local value = rawget(task, field)
  if value == nil then
    value = not (task.new and task.new.is_first) and redis.call('HGET', call.task .. task.id, field)
    rawset(task, field, value)
    -- From now on it may be set without a word to `__newindex`.
    rawset(task, 'has_texts', true)
  end
  return value
end

-- Registers the task in this call, or that there is none.
local function keep(id, task)
  call.tasks[id] = task or false
  if task then call.loaded[#call.loaded + 1] = task end
  return task or nil
end

-- The task of this core, or of what an older release wrote where there is none; nil for what no code here can decode, as
-- if there were no task.
local function read(id, core)
  if not core then return keep(id, read_old(id)) end
  local readable, task = pcall(from_core, id, core)
  return keep(id, readable and task)
end

-- The task, or nil if there is none (any more).
function Task.load(id)
  local task = call.tasks[id]
  if task ~= nil then return task or nil end
  return read(id, redis.call('HGET', call.task .. id, 'core'))
end

-- The state of a task of which nothing else is wanted, or nil if there is none (any more).
function Task.state_of(id)
  local task = call.tasks[id]
  if task ~= nil then return task and task.state or nil end
  local v = redis.call('HMGET', call.task .. id, 'core', 'state')
  return v[1] and STATES[string.byte(v[1])] or v[2] or nil
end

-- Whether a core is that of a task that has succeeded.
function Task.has_succeeded(core)
  return string.byte(core) == STATE_NUMBERS.succeeded
end

-- How many steps a core tells of; 0 for what is none.
function Task.steps_of(core)
  return #core > 12 and struct.unpack('<I4', core, 9) or 0
end

-- A task that is about to be accepted. `new` is what is written of it besides its core: fields, and a plan.
function Task.new(id, state, priority, tenant, request)
  local task = keep(id, made(id, state, priority, call.now, 0, 0, 0, 0, 0, tenant))
  task.new, task.changed = { is_first = true, fields = { 'request', request } }, true
  return task
end

-- A step and its task, in one read if neither is known; nothing if there is no such task or step (any more). With `to_claim`
-- the step's input and its task's trace are returned too, if they were read with it.
function Task.find(id, number, to_claim)
  local task = call.tasks[id]
  if task == false then return nil end
  if task then
    local step, input = Step.load(task, number, to_claim)
    return task, step, input
  end
  local run, spec, v = RUN[number] or 'run:' .. number, SPEC[number] or 'spec:' .. number, nil
  if to_claim then
    v = redis.call('HMGET', call.task .. id, 'core', run, spec, INPUT[number] or 'in:' .. number, 'trace')
  else
    v = redis.call('HMGET', call.task .. id, 'core', run, spec)
  end
  task = read(id, v[1])
  if not task or not v[2] then return task end
  return task, Step.read(task, number, v[2], v[3]), to_claim and (v[4] or '') or nil, v[5]
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
  local failure = state == 'failed' and failure_json(Task.text(task, 'failure')) or ''
  Task.event(task, 'task_finished', ',"state":"' .. state .. '"' .. failure .. Usage.json(task) .. ',"elapsed_ms":'
    .. math.max(0, call.now - (task.start > 0 and task.start or task.created)))
end

local function ring(task)
  local events, key, last = task.events, call.events .. task.id, nil
  for first = 1, #events, CHUNK do
    last = redis.call('RPUSH', key, unpack(events, first, math.min(first + CHUNK - 1, #events)))
  end
  redis.call('PUBLISH', call.bell .. task.id, TEXT[last] or integer(last))
  task.events = {}
end

-- When the ended task expires; with a count to keep, the oldest of its tenant go before their age.
local function keep_for_a_while(task)
  local expiring, most = call.expiring, policy('retention_count')
  call.expiry = call.expiry or integer(call.now + policy('retention_ms'))
  expiring[#expiring + 1] = call.expiry
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

local function add_fields(task, v)
  for i = 1, #FIELDS do
    local value = rawget(task, FIELDS[i])
    if value then
      v[#v + 1] = FIELDS[i]
      v[#v + 1] = value
    end
  end
end

-- A plan's steps come before those of them that have changed, as the last value of a field counts; and before other fields,
-- as a small hash is searched from its beginning.
local function add_new(task, v)
  local fields, plan = task.new.fields, task.new.plan
  if plan then Step.add_plan(plan, v) end
  local last = #v
  for i = 1, #fields do v[last + i] = fields[i] end
  task.new = false
end

-- The task has ended, or has not any more, with 0.
local function add_end(task, v)
  v[#v + 1] = 'ended'
  v[#v + 1] = task.ended > 0 and call.now_text or '0'
  if task.ended > 0 then
    keep_for_a_while(task)
    tell_end(task)
    if task.schedule then Schedule.task_ended(task) end
  end
  task.ended = false
end

local function add_step(step, v)
  local number, last = step.number, #v
  if step.changed then
    v[last + 1], v[last + 2] = RUN[number] or 'run:' .. number, Step.pack(step)
    local output, failure = rawget(step, 'output'), rawget(step, 'failure')
    if output then
      v[last + 3], v[last + 4] = OUTPUT[number] or 'out:' .. number, output
      last, step.output = last + 2, false
    end
    if failure then v[last + 3], v[last + 4] = 'err:' .. number, failure end
    step.changed = false
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

local function write(task)
  local v = { 'core', Task.pack(task) }
  if task.has_texts then add_fields(task, v) end
  if task.new then add_new(task, v) end
  if task.ended then add_end(task, v) end
  for _, step in next, task.step do add_step(step, v) end
  in_chunks('HSET', call.task .. task.id, v, 2)
  task.changed = false
end

-- Writes every changed task, with one RPUSH and one PUBLISH each; then what is kept of several together.
flush = function()
  local loaded = call.loaded
  for i = 1, #loaded do
    local task = loaded[i]
    if task.changed then write(task) end
    if #task.events > 0 then ring(task) end
  end
  Worker.write_held()
  for tenant, values in pairs(call.indexed) do in_chunks('ZADD', K('index', tenant), values, 2) end
  in_chunks('ZADD', K('expiry'), call.expiring, 2)
  call.indexed, call.expiring = {}, {}
  if next(call.ends) then tell_ends() end
end
