-- How a task comes to be: now, with its first steps or waiting for a plan; or SCHEDULED, with nothing but a timer.
-- A plan that comes with a SCHEDULED task lies in the store, its steps PENDING, and is the task's once it begins.

-- What of a submission is a number, or a short text, of the task's core.
local NUMBERS, SHORT_TEXTS = { budget = true }, { on_limit = true }
local ACCEPTED_FIELDS = 9

-- The start of a SCHEDULED task, in the set of timers: as an attempt of the deadline.
local function start_member(task)
  return task.id .. ':0:1'
end

-- A plan from the arguments, which several tasks of a call may have: sinks, agents, failure policy, steps n, then n times
-- packed spec, input and number of blockers. `values` are the fields of its steps, `first` the steps that wait for
-- nothing. Also returns where the arguments go on. Raises for what cannot be decoded, so it is read before anything is
-- written.
function Task.read_plan(args, at)
  local count = tonumber(args[at + 3])
  local plan = { sinks = args[at], agents = args[at + 1], on_failure = args[at + 2] ~= '' and args[at + 2], count = count,
    packed = {}, records = {}, inputs = {}, blockers = {}, first = {} }
  local fresh = {}
  at = at + 4
  for number = 1, count do
    local packed, blockers = args[at], tonumber(args[at + 2])
    fresh[blockers] = fresh[blockers] or Step.fresh(blockers)
    plan.packed[number], plan.inputs[number], plan.blockers[number] = packed, args[at + 1], blockers
    plan.records[number] = fresh[blockers]
    if blockers == 0 then
      local spec = cmsgpack.unpack(packed)
      plan.first[#plan.first + 1] = { number = number, name = spec[1], agent = spec[2],
        -- It waits with a timer, for a person, or for its conditions.
        waits = spec[11] ~= nil, event = '{"type":"step_ready' .. call.stamp .. ',"step":"' .. spec[1] .. '"}' }
    end
    at = at + 3
  end
  return plan, at
end

-- Adds the fields of a plan's steps to the values of a write.
function Step.add_plan(plan, v)
  local last = #v
  for number = 1, plan.count do
    v[last + 1], v[last + 2] = SPEC[number] or 'spec:' .. number, plan.packed[number]
    v[last + 3], v[last + 4] = INPUT[number] or 'in:' .. number, plan.inputs[number]
    v[last + 5], v[last + 6] = RUN[number] or 'run:' .. number, plan.records[number]
    last = last + 6
  end
end

-- A step of a plan that is not written yet; nil if it has none of that number.
function Step.of_plan(task, number)
  local plan = task.new.plan
  return plan.packed[number] and Step.read(task, number, plan.records[number], plan.packed[number])
end

-- What a task keeps of its plan as a whole. Of a task that has begun one sink that is its last step is not told.
local function keep_plan(task, plan)
  local fields = task.new.fields
  if task.state == 'scheduled' or plan.sinks ~= '[' .. plan.count .. ']' then
    fields[#fields + 1] = 'sinks'
    fields[#fields + 1] = plan.sinks
  end
  fields[#fields + 1] = 'agents'
  fields[#fields + 1] = plan.agents
  if plan.on_failure then task.on_failure = plan.on_failure end
end

local function adopt(task, count)
  task.steps, task.open, task.changed = count, count, true
  if task.revision ~= 1 then task.revision = 1 end
  if task.created ~= call.now then task.planned = call.now end
  Task.event(task, 'task_planned', ',"revision":1,"step_count":' .. count)
end

-- Gives a task its first plan, and starts what waits for nothing.
function Task.plan_first(task, plan)
  task.new = task.new or { fields = {} }
  task.new.plan = plan
  keep_plan(task, plan)
  adopt(task, plan.count)
  local events = task.events
  for i = 1, #plan.first do
    local first = plan.first[i]
    if first.waits then
      local step = Step.load(task, first.number)
      step.state, step.ready = PENDING, 0
      Step.let_go(task, step)
    else
      events[#events + 1] = first.event
      Queue.wait(first.agent, task.priority, task.tenant, task.id .. ':' .. (TEXT[first.number] or first.number))
    end
  end
end

-- How many steps the plan has that is kept for a task, 0 for one with a goal, or nil if the task has begun.
function Task.kept_steps(task)
  return tonumber(redis.call('HGET', K('task', task.id), 'kept') or '')
end

-- The plan that was kept becomes the task's, and what waits for nothing starts.
local function plan_kept(task, count)
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

-- What of a submission lies in the task's core is set there; the rest are fields of their own.
local function take_options(task, args, first, last)
  local fields = task.new.fields
  for at = first, last, 2 do
    local name, value = args[at], args[at + 1]
    if NUMBERS[name] then
      task[name] = tonumber(value)
    elseif SHORT_TEXTS[name] then
      task[name] = value
    else
      fields[#fields + 1] = name
      fields[#fields + 1] = value
      if name == 'span' then task.new.span = tonumber(value) end
    end
  end
end

-- The plan of a task that begins later lies in the store until then.
local function keep_until_start(task, plan, start)
  local fields = task.new.fields
  task.start, task.revision = start, 0
  fields[#fields + 1] = 'kept'
  fields[#fields + 1] = plan and plan.count or 0
  if plan then
    keep_plan(task, plan)
    local records = {}
    for number = 1, plan.count do records[number] = Step.pending(plan.blockers[number]) end
    task.new.plan = { count = plan.count, packed = plan.packed, inputs = plan.inputs, records = records }
  end
  redis.call('ZADD', K('timers'), start, start_member(task))
end

-- What is known of the request, or nil if it is new: then it stands for this task from now on. In a store that is full
-- none is new.
local function known_request(request, value)
  if call.full == nil then call.full = redis.call('HGET', K('pulse'), 'full') == '1' end
  if not call.full then return redis.call('SET', request, value, 'NX', 'GET') or nil end
  return redis.call('GET', request) or ''
end

-- Accepts a task, whose arguments begin at `at`; `plans` are those of the call. Whoever calls it settles the rooms and
-- flushes. Returns where the arguments go on, what became of it ('created', 'exists', 'reused' or 'full'), and its id.
function Task.accept(args, at, plans)
  local id, tenant, fingerprint, plan = args[at], args[at + 1], args[at + 3], plans[tonumber(args[at + 5])]
  local first_option = at + ACCEPTED_FIELDS + tonumber(args[at + 7])
  local following = first_option + 2 * tonumber(args[at + 8])
  local request = K('request', tenant, args[at + 2])
  local known = known_request(request, id .. '|' .. fingerprint)
  if known == '' then return following, 'full' end
  if known then
    local known_id, known_fingerprint = string.match(known, '^([^|]+)|(.*)$')
    if known_fingerprint ~= fingerprint then return following, 'reused' end
    -- A caller who waits for replicas needs a write of this very call to wait for.
    redis.call('SET', request, known)
    return following, 'exists', known_id
  end

  local start = tonumber(args[at + 6])
  local is_later = start > call.now
  local state = is_later and 'scheduled' or plan and 'running' or 'planning'
  local task = Task.new(id, state, args[at + 4], tenant, args[at + 2])
  take_options(task, args, first_option, following - 1)
  local indexed = call.indexed[tenant] or {}
  call.indexed[tenant] = indexed
  indexed[#indexed + 1] = call.now_text
  indexed[#indexed + 1] = id
  if first_option > at + ACCEPTED_FIELDS then
    local documents = {}
    for i = at + ACCEPTED_FIELDS, first_option - 1 do documents[#documents + 1] = args[i] end
    in_chunks('RPUSH', K('documents', id), documents)
  end
  Task.event(task, 'task_accepted', ',"state":"' .. state .. '"')
  if is_later then
    keep_until_start(task, plan, start)
  else
    Task.set_deadline(task, task.new.span)
    if plan then
      Task.plan_first(task, plan)
    else
      task.revision = 0
      Task.await_plan(task)
    end
  end
  return following, 'created', id
end

-- The plans of a call, and where its arguments go on: how many, then each.
function Task.read_plans(args, at)
  local plans, count = {}, tonumber(args[at])
  at = at + 1
  for i = 1, count do plans[i], at = Task.read_plan(args, at) end
  return plans, at
end
