-- A step in memory during a call: its record, its spec, and how both are read and written.

local PENDING, READY, RUNNING, BACKOFF, SUCCEEDED, FAILED, CANCELLED, SKIPPED, WAITING = 1, 2, 3, 4, 5, 6, 7, 8, 9
local STATE_NAMES = { 'pending', 'ready', 'running', 'backoff', 'succeeded', 'failed', 'cancelled', 'skipped', 'waiting' }
-- The record of a step, msgpack: STEP_HEAD always, then STEP_TAIL, which few steps have, up to its last value. New fields go
-- to the end of STEP_TAIL.
local STEP_HEAD = {
  'state', 'attempt', 'tries', 'deaths', 'blockers', 'ready', 'started', 'ended', 'worker', 'granted', 'wait', 'run',
  'input_tokens', 'output_tokens', 'cost', 'last_wait', 'said', 'losses', 'suspect',
}
local STEP_TAIL = { 'parked', 'cached', 'reasoning', 'estimated', 'open_calls', 'broke', 'turn', 'skipped', 'dropped',
  'added_by', 'replan', 'permits' }
-- What a step has of STEP_TAIL that has it not.
local NOUGHT = {}
for i = 1, #STEP_TAIL do NOUGHT[STEP_TAIL[i]] = 0 end

local STEP = {
  __index = NOUGHT,
  __newindex = function(step, field, value)
    if NOUGHT[field] then step.more = true end
    rawset(step, field, value)
  end,
}

-- `more`: whether the step has something of STEP_TAIL.
local function from_record(number, v)
  local step = { number = number, state = v[1], attempt = v[2] or 0, tries = v[3] or 0, deaths = v[4] or 0,
    blockers = v[5] or 0, ready = v[6] or 0, started = v[7] or 0, ended = v[8] or 0, worker = v[9], granted = v[10] or 0,
    wait = v[11] or 0, run = v[12] or 0, input_tokens = v[13] or 0, output_tokens = v[14] or 0, cost = v[15] or 0,
    last_wait = v[16] or 0, said = v[17] or 0, losses = v[18] or 0, suspect = v[19] or 0, more = false, changed = false,
    spec = false, output = false, failure = false }
  for i = #STEP_HEAD + 1, math.min(#v, #STEP_HEAD + #STEP_TAIL) do
    if v[i] ~= 0 then step[STEP_TAIL[i - #STEP_HEAD]], step.more = v[i], true end
  end
  return setmetatable(step, STEP)
end

function Step.pack(step)
  local v = { step.state, step.attempt, step.tries, step.deaths, step.blockers, step.ready, step.started, step.ended,
    step.worker, step.granted, step.wait, step.run, step.input_tokens, step.output_tokens, step.cost, step.last_wait,
    step.said, step.losses, step.suspect }
  if step.more then
    local last = #STEP_TAIL
    while last > 0 and step[STEP_TAIL[last]] == 0 do last = last - 1 end
    for i = 1, last do v[#STEP_HEAD + i] = step[STEP_TAIL[i]] end
  end
  return cmsgpack.pack(v)
end

-- A step of a task's first plan, as it is first written.
function Step.fresh(blockers)
  local is_ready = blockers == 0
  return cmsgpack.pack({ is_ready and READY or PENDING, 0, 0, 0, blockers, is_ready and call.now or 0, 0, 0, '' })
end

-- A step of a plan that is kept until its task begins.
function Step.pending(blockers)
  return cmsgpack.pack({ PENDING, 0, 0, 0, blockers, 0, 0, 0, '' })
end

-- The step of this record, or what stands for one that no code here can decode: ended well if it has an output, or READY, so
-- that it can be given up like any other. Fields that an older release did not write are 0.
local function read_record(task, number, packed)
  local readable, record = pcall(cmsgpack.unpack, packed)
  if readable and type(record) == 'table' and type(record[1]) == 'number' and type(record[9]) == 'string' then
    return from_record(number, record)
  end
  local has_output = redis.call('HEXISTS', call.task .. task.id, 'out:' .. number) == 1
  local step = from_record(number, { has_output and SUCCEEDED or READY, 0, 0, 0, 0, 0, 0, 0, '' })
  step.broken = true
  return step
end

-- A spec by its names, from the array that `packing.packed_spec` packs: trailing defaults are left out there.
local function named_spec(v)
  return {
    name = v[1], agent = v[2], run_timeout_ms = v[3], max_attempts = v[4], initial_backoff_ms = v[5],
    max_backoff_ms = v[6], multiplier = v[7], dependents = v[8], dependencies = v[9], references = v[10],
    queue_timeout_ms = v[11] or 0, jitter = v[12] or 0.5, final_reasons = v[13] or {},
    conditions = v[15] or {}, allow_skipped = v[16] == 1, limits = v[17] or {}, aliases = v[18] or {},
    question = v[14] and { prompt = v[14][1], timeout_ms = v[14][3], default = v[14][4] }, array = v,
  }
end

-- Steps of the same packed spec share what it says, in this call; nil for one that no code here can decode.
local function shared_spec(packed)
  local spec = call.specs[packed]
  if spec then return spec end
  local legible, v = pcall(cmsgpack.unpack, packed)
  if not legible or type(v) ~= 'table' or type(v[10]) ~= 'table' then return nil end
  spec = named_spec(v)
  call.specs[packed] = spec
  return spec
end

-- A step from what is stored of it, which is the task's from now on.
function Step.read(task, number, packed, packed_spec)
  local step = read_record(task, number, packed)
  step.spec = shared_spec(packed_spec or '')
  if not step.spec then
    step.broken, step.illegible = true, true
    step.spec = named_spec({ 'undecodable-' .. number, '', 1, 1, 0, 0, 1, {}, {}, {} })
  end
  task.step[number] = step
  return step
end

-- A step that a patch adds, of a spec whose edges are numbers of the plan.
function Step.added(number, spec, input, blockers, revision)
  local step = from_record(number, { PENDING, 0, 0, 0, blockers, 0, 0, 0, '' })
  step.spec, step.is_own, step.input, step.changed, step.respecified = named_spec(spec), true, input, true, true
  step.added_by = revision
  return step
end

-- The step, or nil if the task has none of that number. With `to_claim` its input comes with it, as `given`.
function Step.load(task, number, to_claim)
  local step = task.step[number]
  if step then return step end
  if task.plan then return Step.of_plan(task, number) end
  local v
  if to_claim then
    v = redis.call('HMGET', call.task .. task.id, 'run:' .. number, 'spec:' .. number, 'in:' .. number)
  else
    v = redis.call('HMGET', call.task .. task.id, 'run:' .. number, 'spec:' .. number)
  end
  if not v[1] then return nil end
  step = Step.read(task, number, v[1], v[2])
  if to_claim then step.given = v[3] or '' end
  return step
end

-- Several steps of a task in one read.
function Step.load_some(task, numbers)
  local missing, fields = {}, {}
  for _, number in ipairs(numbers) do
    if not task.step[number] then
      missing[#missing + 1] = number
      fields[#fields + 1] = 'run:' .. number
      fields[#fields + 1] = 'spec:' .. number
    end
  end
  if task.plan then
    for _, number in ipairs(missing) do Step.of_plan(task, number) end
    return
  end
  local v = HMGET_all(call.task .. task.id, fields)
  for i, number in ipairs(missing) do
    Step.read(task, number, v[2 * i - 1] or '', v[2 * i])
  end
end

-- All steps of a task, for cascades.
function Step.load_all(task)
  local numbers = {}
  for number = 1, task.steps do numbers[number] = number end
  Step.load_some(task, numbers)
end

-- name, agent, times and edges. Other steps may share it.
function Step.spec(step)
  return step.spec
end

-- The spec of this step alone, to be changed.
function Step.own_spec(step)
  if not step.is_own then
    step.spec, step.is_own = named_spec(cmsgpack.unpack(cmsgpack.pack(step.spec.array))), true
  end
  return step.spec
end

-- The spec with the edges that a patch has changed; the rest is as it was.
function Step.pack_spec(step)
  local v, spec = step.spec.array, step.spec
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
  return ',"step":"' .. step.spec.name .. '","attempt":' .. step.attempt
end
