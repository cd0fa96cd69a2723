-- submit: (nothing) -> PLANNING | RUNNING
-- Accepts a task once for its tenant and request id: the task and its first queue entries exist, or nothing does.
-- Keys: request, task, events, documents, index, planning, timers; with a plan also waiting, ready, queue.
-- Arguments: now, id, tenant, request id, fingerprint, goal, input, labels, paths, priority, trace, template,
--   milliseconds to the deadline or 0, sinks, agents, failure policy, budget, what to do at its limit, policy,
--   documents d, d packed documents, steps n, then
--   n times: packed spec, input, number of blockers. Texts that are empty are not stored.
-- Reply: {'created', id, created ms, events} | {'exists', id} | {'reused'} | {'full'}.
-- Events: task_accepted; with a plan task_planned and step_ready or step_waiting for each first step.

local OPTIONAL = { 'goal', 'input', 'labels', 'paths', 'priority', 'trace', 'template', 'span', 'sinks', 'agents',
  'on_failure', 'budget', 'on_limit', 'policy' }
local FIRST_OPTIONAL, DOCUMENTS = 6, 20

-- Gives a task its first plan, from the arguments.
function Task.plan(task, args, first, count)
  task.revision, task.steps, task.open = 1, count, count
  task.loaded.revision, task.loaded.steps = 1, count
  local values, ready = { 'revision', '1', 'steps', integer(count), 'open', integer(count) }, {}
  for number = 1, count do
    local at = first + 3 * (number - 1)
    local blockers = tonumber(args[at + 2])
    values[#values + 1] = 'spec:' .. number
    values[#values + 1] = args[at]
    values[#values + 1] = 'in:' .. number
    values[#values + 1] = args[at + 1]
    values[#values + 1] = 'run:' .. number
    values[#values + 1] = Step.fresh(blockers)
    if blockers == 0 then ready[#ready + 1] = number end
  end
  in_chunks('HSET', K('task', task.id), values, 2)
  Task.event(task, 'task_planned', ',"revision":1,"step_count":' .. count)
  for _, number in ipairs(ready) do
    local spec = cmsgpack.unpack(args[first + 3 * (number - 1)])
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

local function submit(keys, args)
  begin(keys, args)
  local id, tenant, request = args[2], args[3], K('request', args[3], args[4])
  local known = redis.call('GET', request)
  if known then
    local known_id, fingerprint = string.match(known, '^([^|]+)|(.*)$')
    if fingerprint ~= args[5] then return { 'reused' } end
    -- A caller who waits for replicas needs a write of this very call to wait for.
    redis.call('SET', request, known)
    return { 'exists', known_id }
  end
  if redis.call('HGET', K('pulse'), 'full') == '1' then return { 'full' } end

  local document_count = tonumber(args[DOCUMENTS])
  local step_count = tonumber(args[DOCUMENTS + 1 + document_count])
  local state = step_count > 0 and 'running' or 'planning'
  redis.call('SET', request, id .. '|' .. args[5])
  local values = { 'state', state, 'tenant', tenant, 'request', args[4], 'created', integer(call.now) }
  for i, field in ipairs(OPTIONAL) do
    if args[FIRST_OPTIONAL + i - 1] ~= '' then
      values[#values + 1] = field
      values[#values + 1] = args[FIRST_OPTIONAL + i - 1]
    end
  end
  redis.call('HSET', K('task', id), unpack(values))
  redis.call('ZADD', K('index', tenant), call.now, id)
  local documents = {}
  for i = 1, document_count do documents[i] = args[DOCUMENTS + i] end
  in_chunks('RPUSH', K('documents', id), documents)

  local task = Task.load(id)
  Task.event(task, 'task_accepted', ',"state":"' .. state .. '"')
  Task.set_deadline(task, tonumber(args[13]))
  if step_count > 0 then
    redis.call('HSET', K('task', id), 'planned', integer(call.now))
    Task.plan(task, args, DOCUMENTS + 2 + document_count, step_count)
  else
    redis.call('ZADD', K('planning'), call.now, id)
    redis.call('PUBLISH', K('bell', 'planning'), id)
  end
  Queue.settle_rooms()
  local events = #task.events
  flush()
  return { 'created', id, call.now, events }
end

register('submit', submit)
