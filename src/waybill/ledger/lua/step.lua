-- A step in memory during a call: its record, its spec, and how both are read and written.

local PENDING, READY, RUNNING, BACKOFF, SUCCEEDED, FAILED, CANCELLED, SKIPPED, WAITING = 1, 2, 3, 4, 5, 6, 7, 8, 9
local STATE_NAMES = { 'pending', 'ready', 'running', 'backoff', 'succeeded', 'failed', 'cancelled', 'skipped', 'waiting' }
local STEP_FIELDS = {
  'state', 'attempt', 'tries', 'deaths', 'blockers', 'ready', 'started', 'ended', 'worker', 'granted', 'wait', 'run',
  'input_tokens', 'output_tokens', 'cost', 'last_wait', 'said', 'losses', 'suspect', 'parked', 'cached', 'reasoning',
  'estimated', 'open_calls', 'broke', 'turn', 'skipped', 'dropped', 'added_by', 'replan',
  'permits',
}

function Step.pack(step)
  local record = {}
  for i, field in ipairs(STEP_FIELDS) do record[i] = step[field] end
  return cmsgpack.pack(record)
end

-- A step of a task's first plan, as it is first written.
function Step.fresh(blockers)
  return cmsgpack.pack({ blockers > 0 and PENDING or READY, 0, 0, 0, blockers, blockers > 0 and 0 or call.now, 0, 0,
    '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 })
end

-- A step of a plan that is kept until its task begins.
function Step.pending(blockers)
  return cmsgpack.pack({ PENDING, 0, 0, 0, blockers, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0 })
end

-- The step's record, or what stands for one that no code here can decode: ended well if it has an output, or READY, so
-- that it can be given up like any other. Fields that an older release did not write are 0.
local function read_record(task, step, packed)
  local readable, record = pcall(cmsgpack.unpack, packed)
  if not readable or type(record) ~= 'table' or type(record[1]) ~= 'number' or type(record[9]) ~= 'string' then
    local has_output = redis.call('HEXISTS', K('task', task.id), 'out:' .. step.number) == 1
    step.broken, record = true, { has_output and SUCCEEDED or READY, [9] = '' }
  end
  for i, field in ipairs(STEP_FIELDS) do step[field] = record[i] or 0 end
end

local function read_spec(step, packed)
  local legible, spec = pcall(cmsgpack.unpack, packed or '')
  if not legible or type(spec) ~= 'table' or type(spec[10]) ~= 'table' then
    step.broken, step.illegible = true, true
    spec = { 'undecodable-' .. step.number, '', 1, 1, 0, 0, 1, {}, {}, {} }
  end
  step.decoded_spec = spec
end

local function unpack_step(task, number, packed, packed_spec)
  local step = { number = number, changed = false }
  read_record(task, step, packed)
  read_spec(step, packed_spec)
  return step
end

-- A step that a patch adds, of a spec whose edges are numbers of the plan.
function Step.added(number, spec, input, blockers, revision)
  local step = { number = number, decoded_spec = spec, input = input, changed = true, respecified = true }
  for _, field in ipairs(STEP_FIELDS) do step[field] = 0 end
  step.state, step.blockers, step.worker, step.added_by = PENDING, blockers, '', revision
  return step
end

-- The step, or nil if the task has none of that number.
function Step.load(task, number)
  local step = task.step[number]
  if step then return step end
  local v = redis.call('HMGET', K('task', task.id), 'run:' .. number, 'spec:' .. number)
  if not v[1] then return nil end
  step = unpack_step(task, number, v[1], v[2])
  task.step[number] = step
  return step
end

-- All steps of a task, for cascades.
function Step.load_all(task)
  local fields = {}
  for number = 1, task.steps do
    fields[#fields + 1] = 'run:' .. number
    fields[#fields + 1] = 'spec:' .. number
  end
  local v = HMGET_all(K('task', task.id), fields)
  for number = 1, task.steps do
    if not task.step[number] then
      task.step[number] = unpack_step(task, number, v[2 * number - 1], v[2 * number])
    end
  end
end

-- name, agent, times and edges; packed by `packing.packed_spec`, which leaves out trailing defaults.
function Step.spec(step)
  if not step.spec then
    local v = step.decoded_spec
    step.spec = {
      name = v[1], agent = v[2], run_timeout_ms = v[3], max_attempts = v[4], initial_backoff_ms = v[5],
      max_backoff_ms = v[6], multiplier = v[7], dependents = v[8], dependencies = v[9], references = v[10],
      queue_timeout_ms = v[11] or 0, jitter = v[12] or 0.5, final_reasons = v[13] or {},
      conditions = v[15] or {}, allow_skipped = v[16] == 1, limits = v[17] or {}, aliases = v[18] or {},
      question = v[14] and { prompt = v[14][1], timeout_ms = v[14][3], default = v[14][4] },
    }
  end
  return step.spec
end

-- The spec with the edges that a patch has changed; the rest is as it was.
function Step.pack_spec(step)
  local v, spec = step.decoded_spec, Step.spec(step)
  v[8], v[9], v[10] = spec.dependents, spec.dependencies, spec.references
  if #spec.aliases > 0 then
    v[11], v[12], v[13], v[14] = v[11] or 0, v[12] or 0.5, v[13] or {}, v[14] or false
    v[15], v[16], v[17], v[18] = spec.conditions, v[16] or 0, v[17] or {}, spec.aliases
  end
  return cmsgpack.pack(v)
end

-- A function that tells the names under which a step knows the output of another: its own, or those of the steps whose
-- place it took.
function Step.names(task, step)
  local aliases = {}
  for _, alias in ipairs(Step.spec(step).aliases) do
    aliases[alias[1]] = aliases[alias[1]] or {}
    table.insert(aliases[alias[1]], alias[2])
  end
  return function(number) return aliases[number] or { Step.spec(Step.load(task, number)).name } end
end

-- The steps that wait for this one. Where its own spec cannot be read, those of the others tell.
function Step.dependents(task, step)
  if not step.illegible then return Step.spec(step).dependents end
  Step.load_all(task)
  local found = {}
  for number = 1, task.steps do
    for _, needed in ipairs(Step.spec(task.step[number]).dependencies) do
      if needed == step.number then found[#found + 1] = number end
    end
  end
  return found
end

-- Whether the step has not ended.
function Step.is_open(step)
  return step.state < SUCCEEDED or step.state == WAITING
end

-- How the ledger writes an attempt of a step. As a timer it means what the step's state says: BACKOFF, the next
-- attempt; READY, the end of its patience with the queue; WAITING, the end of its patience with a person.
local function ref(task, step)
  return task.id .. ':' .. step.number .. ':' .. step.attempt
end

local function changed(task, step, state)
  step.state, step.changed, task.changed = state, true, true
end

local function named(step)
  return string.format(',"step":"%s","attempt":%d', Step.spec(step).name, step.attempt)
end
