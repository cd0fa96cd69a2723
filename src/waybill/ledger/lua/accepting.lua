-- How a task comes to be: now, with its first steps or waiting for a plan; or SCHEDULED, with nothing but a timer.
-- A plan that comes with a SCHEDULED task lies in the store, its steps PENDING, and is the task's once it begins.

local OPTIONAL = { 'goal', 'input', 'labels', 'paths', 'priority', 'trace', 'template', 'span', 'sinks', 'agents',
  'on_failure', 'budget', 'on_limit', 'policy' }
local FIRST_OPTIONAL, SPAN, START, DOCUMENTS = 4, 11, 18, 19

-- The start of a SCHEDULED task, in the set of timers: as an attempt of the deadline.
local function start_member(task)
  return task.id .. ':0:1'
end

local function adopt(task, count)
  task.revision, task.steps, task.open = 1, count, count
  Task.event(task, 'task_planned', ',"revision":1,"step_count":' .. count)
end

-- Spec, input and record of each step, from the arguments.
local function step_values(values, args, first, count, record)
  for number = 1, count do
    local at = first + 3 * (number - 1)
    values[#values + 1] = 'spec:' .. number
    values[#values + 1] = args[at]
    values[#values + 1] = 'in:' .. number
    values[#values + 1] = args[at + 1]
    values[#values + 1] = 'run:' .. number
    values[#values + 1] = record(tonumber(args[at + 2]))
  end
  return values
end

-- Gives a task its first plan, from the arguments, and starts what waits for nothing.
function Task.plan(task, args, first, count)
  task.loaded.revision, task.loaded.steps = 1, count
  local values = { 'revision', '1', 'steps', integer(count), 'open', integer(count) }
  in_chunks('HSET', K('task', task.id), step_values(values, args, first, count, Step.fresh), 2)
  adopt(task, count)
  for number = 1, count do
    local at = first + 3 * (number - 1)
    if tonumber(args[at + 2]) == 0 then
      local spec = cmsgpack.unpack(args[at])
      if spec[11] then
        -- It waits with a timer, for a person, or for its conditions.
        local step = Step.load(task, number)
        step.state, step.ready = PENDING, 0
        Step.let_go(task, step)
      else
        Task.event(task, 'step_ready', ',"step":"' .. spec[1] .. '"')
        Queue.wait(spec[2], task.priority, task.tenant, task.id .. ':' .. number)
      end
    end
  end
end

-- How many steps the plan has that is kept for a task, 0 for one with a goal, or nil if the task has begun.
function Task.kept_steps(task)
  return tonumber(redis.call('HGET', K('task', task.id), 'kept') or '')
end

-- The plan that was kept becomes the task's, and what waits for nothing starts.
local function plan_kept(task, count)
  redis.call('HSET', K('task', task.id), 'planned', integer(call.now))
  adopt(task, count)
  Step.load_all(task)
  for number = 1, count do
    local step = task.step[number]
    if step.state == PENDING and step.blockers == 0 then Step.let_go(task, step) end
  end
end

function Task.await_plan(task)
  redis.call('ZADD', K('planning'), call.now, task.id)
  redis.call('PUBLISH', K('bell', 'planning'), task.id)
end

-- The task, which is PLANNING or RUNNING from now on, with `count` steps of its own, has begun: its deadline and its
-- latency count from here.
function Task.begin_kept(task, count)
  redis.call('HDEL', K('task', task.id), 'kept')
  task.start, task.changed = call.now, true
  Task.set_deadline(task, tonumber(redis.call('HGET', K('task', task.id), 'span') or ''))
  if count > 0 then plan_kept(task, count) else Task.await_plan(task) end
end

-- SCHEDULED -> PLANNING | RUNNING, by its timer.
function Task.start(task)
  if task.state ~= 'scheduled' then return end
  local count = Task.kept_steps(task)
  task.state = count > 0 and 'running' or 'planning'
  Task.event(task, 'task_started', ',"state":"' .. task.state .. '"')
  Task.begin_kept(task, count)
  -- A tick that starts large plans leaves the rest to the next one.
  call.ended = (call.ended or 0) + count
end

-- SCHEDULED -> CANCELLED.
function Task.call_off(task)
  redis.call('ZREM', K('timers'), start_member(task))
  Task.finish(task, 'cancelled')
end

local function begin_now(task, span, args, first_step, count)
  Task.set_deadline(task, tonumber(span))
  if count > 0 then
    redis.call('HSET', K('task', task.id), 'planned', integer(call.now))
    Task.plan(task, args, first_step, count)
  else
    Task.await_plan(task)
  end
end

-- Accepts a task; its arguments, as `submit` has them, begin at `first` with its id, and end the arguments of the call.
-- Whoever calls it settles the rooms and flushes. Returns the reply of `submit`.
function Task.accept(args, first)
  local id, tenant, fingerprint = args[first], args[first + 1], args[first + 3]
  local request = K('request', tenant, args[first + 2])
  local known = redis.call('GET', request)
  if known then
    local known_id, known_fingerprint = string.match(known, '^([^|]+)|(.*)$')
    if known_fingerprint ~= fingerprint then return { 'reused' } end
    -- A caller who waits for replicas needs a write of this very call to wait for.
    redis.call('SET', request, known)
    return { 'exists', known_id }
  end
  if redis.call('HGET', K('pulse'), 'full') == '1' then return { 'full' } end

  local document_count = tonumber(args[first + DOCUMENTS])
  local first_step = first + DOCUMENTS + document_count + 2
  local step_count = tonumber(args[first_step - 1])
  local start = tonumber(args[first + START]) or 0
  local is_later = start > call.now
  local state = is_later and 'scheduled' or step_count > 0 and 'running' or 'planning'
  redis.call('SET', request, id .. '|' .. fingerprint)
  local values = { 'state', state, 'tenant', tenant, 'request', args[first + 2], 'created', integer(call.now) }
  if is_later then
    values[#values + 1] = 'start'
    values[#values + 1] = integer(start)
    values[#values + 1] = 'kept'
    values[#values + 1] = integer(step_count)
  end
  for i, field in ipairs(OPTIONAL) do
    local value = args[first + FIRST_OPTIONAL + i - 1]
    if value ~= '' then
      values[#values + 1] = field
      values[#values + 1] = value
    end
  end
  redis.call('HSET', K('task', id), unpack(values))
  redis.call('ZADD', K('index', tenant), call.now, id)
  local documents = {}
  for i = 1, document_count do documents[i] = args[first + DOCUMENTS + i] end
  in_chunks('RPUSH', K('documents', id), documents)

  local task = Task.load(id)
  Task.event(task, 'task_accepted', ',"state":"' .. state .. '"')
  if is_later then
    in_chunks('HSET', K('task', id), step_values({}, args, first_step, step_count, Step.pending), 2)
    redis.call('ZADD', K('timers'), start, start_member(task))
  else
    begin_now(task, args[first + SPAN], args, first_step, step_count)
  end
  return { 'created', id, call.now, #task.events }
end
