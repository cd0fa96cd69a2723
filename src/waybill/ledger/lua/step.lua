-- A step in memory during a call: its record, its spec, and how both are read and written.

local PENDING, READY, RUNNING, BACKOFF, SUCCEEDED, FAILED, CANCELLED, SKIPPED, WAITING = 1, 2, 3, 4, 5, 6, 7, 8, 9
local STATE_NAMES = { 'pending', 'ready', 'running', 'backoff', 'succeeded', 'failed', 'cancelled', 'skipped', 'waiting' }
-- The record of a step: what all have, packed by RECORD; then, msgpack, what few have, STEP_TAIL, up to its last value. New
-- fields go to the end of STEP_TAIL.
local RECORD = '<BI4I4I6I6I6I6I6I6I6s'
local STEP_TAIL = { 'tries', 'deaths', 'said', 'losses', 'suspect', 'input_tokens', 'output_tokens', 'cost', 'cached',
  'reasoning', 'estimated', 'parked', 'open_calls', 'broke', 'turn', 'skipped', 'dropped', 'added_by', 'replan', 'permits' }
-- The release before this one packed all of it as msgpack, whose first byte is above any state.
local OLD_RECORD = { 'state', 'attempt', 'tries', 'deaths', 'blockers', 'ready', 'started', 'ended', 'worker', 'granted',
  'wait', 'run', 'input_tokens', 'output_tokens', 'cost', 'last_wait', 'said', 'losses', 'suspect', 'parked', 'cached',
  'reasoning', 'estimated', 'open_calls', 'broke', 'turn', 'skipped', 'dropped', 'added_by', 'replan', 'permits' }
local LAST_STATE = 15
-- What a step has of STEP_TAIL that has it not.
local NOUGHT = {}
for i = 1, #STEP_TAIL do NOUGHT[STEP_TAIL[i]] = 0 end

local STEP = {
  __index = NOUGHT,
  __newindex = function(step, field, value)
    if NOUGHT[field] then rawset(step, 'more', true) end
    rawset(step, field, value)
  end,
}

-- As of a task: 16 names, with `output`, are as many as it should have. `more`: whether it has something of STEP_TAIL.
local function made(number, state, attempt, blockers, ready, started, ended, granted, wait, run, last_wait, worker)
  return setmetatable({ number = number, state = state, attempt = attempt, blockers = blockers, ready = ready,
    started = started, ended = ended, granted = granted, wait = wait, run = run, last_wait = last_wait, worker = worker,
    spec = false, changed = false, more = false, output = false }, STEP)
end

function Step.pack(step)
  local record = struct.pack(RECORD, step.state, step.attempt, step.blockers, step.ready, step.started, step.ended,
    step.granted, step.wait, step.run, step.last_wait, step.worker)
  if not step.more then return record end
  local last, v = #STEP_TAIL, {}
  while last > 0 and step[STEP_TAIL[last]] == 0 do last = last - 1 end
  if last == 0 then return record end
  for i = 1, last do v[i] = step[STEP_TAIL[i]] end
  return record .. cmsgpack.pack(v)
end

-- A step of a task's first plan, as it is first written.
function Step.fresh(blockers)
  local is_ready = blockers == 0
  return struct.pack(RECORD, is_ready and READY or PENDING, 0, blockers, is_ready and call.now or 0, 0, 0, 0, 0, 0, 0, '')
end

-- A step of a plan that is kept until its task begins.
function Step.pending(blockers)
  return struct.pack(RECORD, PENDING, 0, blockers, 0, 0, 0, 0, 0, 0, 0, '')
end

-- Of an older release; fields that it did not write are 0.
local function from_old(number, packed)
  local v, step = cmsgpack.unpack(packed), made(number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '')
  if type(v[1]) ~= 'number' or type(v[9]) ~= 'string' then error('no record of a step') end
  for i = 1, math.min(#v, #OLD_RECORD) do
    if v[i] ~= 0 then step[OLD_RECORD[i]] = v[i] end
  end
  return step
end

-- A step from its record. Raises for what is none.
local function from_record(number, packed)
  if string.byte(packed) > LAST_STATE then return from_old(number, packed) end
  local state, attempt, blockers, ready, started, ended, granted, wait, run, last_wait, worker, at =
    struct.unpack(RECORD, packed)
  local step = made(number, state, attempt, blockers, ready, started, ended, granted, wait, run, last_wait, worker)
  if at <= #packed then
    local v = cmsgpack.unpack(string.sub(packed, at))
    for i = 1, math.min(#v, #STEP_TAIL) do
      if v[i] ~= 0 then step[STEP_TAIL[i]] = v[i] end
    end
  end
  return step
end

-- The state of a record of which nothing else is wanted; nil for one that no code here can decode.
function Step.state_of(packed)
  local readable, step = pcall(from_record, 0, packed)
  return readable and step.state or nil
end

-- The step of this record, or what stands for one that no code here can decode: ended well if it has an output, or READY, so
-- that it can be given up like any other.
local function read_record(task, number, packed)
  local readable, step = pcall(from_record, number, packed)
  if readable then return step end
  local has_output = redis.call('HEXISTS', call.task .. task.id, 'out:' .. number) == 1
  step = made(number, has_output and SUCCEEDED or READY, 0, 0, 0, 0, 0, 0, 0, 0, 0, '')
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
  local step = made(number, PENDING, 0, blockers, 0, 0, 0, 0, 0, 0, 0, '')
  step.spec, step.is_own, step.input, step.changed, step.respecified = named_spec(spec), true, input, true, true
  step.added_by = revision
  return step
end

-- The step, or nil if the task has none of that number. With `to_claim` its input is returned too, if it was read with it.
function Step.load(task, number, to_claim)
  local step = task.step[number]
  if step then return step end
  if task.new and task.new.plan then return Step.of_plan(task, number) end
  local run, spec, v = RUN[number] or 'run:' .. number, SPEC[number] or 'spec:' .. number, nil
  if to_claim then
    v = redis.call('HMGET', call.task .. task.id, run, spec, INPUT[number] or 'in:' .. number)
  else
    v = redis.call('HMGET', call.task .. task.id, run, spec)
  end
  if not v[1] then return nil end
  return Step.read(task, number, v[1], v[2]), to_claim and (v[3] or '') or nil
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
  if task.new and task.new.plan then
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
  local number, attempt = step.number, step.attempt
  return task.id .. ':' .. (TEXT[number] or number) .. ':' .. (TEXT[attempt] or attempt)
end

local function changed(task, step, state)
  step.state, step.changed, task.changed = state, true, true
end

local function named(step)
  return ',"step":"' .. step.spec.name .. '","attempt":' .. (TEXT[step.attempt] or step.attempt)
end
