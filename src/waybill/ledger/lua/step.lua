-- A step in memory during a call, and every transition a step can make.
--
-- PENDING -> READY            ready       when the last step it depends on succeeds
-- READY   -> RUNNING          start       by a claim; the attempt grows
-- RUNNING -> SUCCEEDED        succeed     unblocks its dependents
-- RUNNING -> BACKOFF | FAILED fail        by the retry policy; FAILED stops the task
-- RUNNING -> READY | FAILED   requeue     when its worker is lost or hands it back
-- BACKOFF -> READY            ready       by a timer
-- any     -> CANCELLED        cancel      when its task stops
-- Events: step_ready, step_started, step_retried, step_finished.

local PENDING, READY, RUNNING, BACKOFF, SUCCEEDED, FAILED, CANCELLED = 1, 2, 3, 4, 5, 6, 7
local STATE_NAMES = { 'pending', 'ready', 'running', 'backoff', 'succeeded', 'failed', 'cancelled' }
local STEP_FIELDS = {
  'state', 'attempt', 'tries', 'deaths', 'blockers', 'ready', 'started', 'ended', 'worker', 'granted', 'wait', 'run',
  'input_tokens', 'output_tokens', 'cost', 'last_wait', 'said',
}

function Step.pack(step)
  local record = {}
  for i, field in ipairs(STEP_FIELDS) do record[i] = step[field] end
  return cmsgpack.pack(record)
end

-- A step that has not started, as it is first written.
function Step.fresh(blockers)
  return cmsgpack.pack({ blockers > 0 and PENDING or READY, 0, 0, 0, blockers, blockers > 0 and 0 or call.now, 0, 0,
    '', 0, 0, 0, 0, 0, 0, 0, 0 })
end

local function unpack_step(number, packed, spec)
  local step, record = { number = number, packed_spec = spec, changed = false }, cmsgpack.unpack(packed)
  for i, field in ipairs(STEP_FIELDS) do step[field] = record[i] end
  return step
end

-- The step, or nil if the task has none of that number.
function Step.load(task, number)
  local step = task.step[number]
  if step then return step end
  local v = redis.call('HMGET', K('task', task.id), 'run:' .. number, 'spec:' .. number)
  if not v[1] then return nil end
  step = unpack_step(number, v[1], v[2])
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
      task.step[number] = unpack_step(number, v[2 * number - 1], v[2 * number])
    end
  end
end

-- name, agent, times and edges; packed by `Ledger._packed_spec`.
function Step.spec(step)
  if not step.spec then
    local v = cmsgpack.unpack(step.packed_spec)
    step.spec = {
      name = v[1], agent = v[2], run_timeout_ms = v[3], max_attempts = v[4], initial_backoff_ms = v[5],
      max_backoff_ms = v[6], multiplier = v[7], dependents = v[8], dependencies = v[9], references = v[10],
    }
  end
  return step.spec
end

local function ref(task, step)
  return task.id .. ':' .. step.number .. ':' .. step.attempt
end

local function changed(task, step, state)
  step.state, step.changed, task.changed = state, true, true
end

local function named(step)
  return string.format(',"step":"%s","attempt":%d', Step.spec(step).name, step.attempt)
end

function Step.ready(task, step, first)
  changed(task, step, READY)
  step.ready = call.now
  Task.event(task, 'step_ready', ',"step":"' .. Step.spec(step).name .. '"')
  Queue.wait(Step.spec(step).agent, task.priority, task.tenant, task.id .. ':' .. step.number, first)
end

function Step.start(task, step, worker, exchange)
  local spec = Step.spec(step)
  changed(task, step, RUNNING)
  step.attempt, step.started, step.worker, step.granted = step.attempt + 1, call.now, worker, exchange
  step.said = 0
  step.last_wait = math.max(0, call.now - step.ready)
  step.wait, task.wait = step.wait + step.last_wait, task.wait + step.last_wait
  task.running = task.running + 1
  redis.call('ZADD', K('held', worker), call.now + spec.run_timeout_ms, ref(task, step))
  Task.event(task, 'step_started', string.format('%s,"agent":"%s","worker":"%s"', named(step), spec.agent, worker))
end

-- RUNNING ends: the worker no longer holds it, and what the attempt used is counted.
local function release(task, step, spent)
  redis.call('ZREM', K('held', step.worker), ref(task, step))
  task.running = task.running - 1
  if spent then
    step.run, task.run = step.run + spent.run_ms, task.run + spent.run_ms
    for _, field in ipairs({ 'input_tokens', 'output_tokens', 'cost' }) do
      step[field], task[field] = step[field] + spent[field], task[field] + spent[field]
    end
  end
end

local function attempt_json(step, spent)
  if not spent then return '' end
  return string.format('%s,"wait_ms":%d,"run_ms":%d', usage_json(spent), step.last_wait, spent.run_ms)
end

local function finish(task, step, state, failure, spent)
  changed(task, step, state)
  -- Without a failure of its own it keeps the last one, which this very call may have told.
  step.ended, step.failure = call.now, failure or step.failure
  task.open = task.open - 1
  Task.event(task, 'step_finished', string.format('%s,"step_state":"%s"%s%s', named(step), STATE_NAMES[state],
    failure_json(failure), attempt_json(step, spent)))
end

-- Ends the task once no step is left that could change.
local function settle_task(task)
  if task.open == 0 then Task.finish(task, task.outcome or 'succeeded') end
end

function Step.succeed(task, step, output, spent)
  release(task, step, spent)
  finish(task, step, SUCCEEDED, nil, spent)
  step.output = output
  if task.state == 'running' then
    for _, number in ipairs(Step.spec(step).dependents) do
      local dependent = Step.load(task, number)
      dependent.blockers, dependent.changed = dependent.blockers - 1, true
      if dependent.blockers == 0 and dependent.state == PENDING then Step.ready(task, dependent) end
    end
  end
  settle_task(task)
end

-- Exponential backoff, of which a random part of up to half is taken off ("equal jitter"). A call brings one random
-- number; multiples of the golden ratio spread it over the steps that fail in the same call.
local function backoff_ms(spec, tries, random)
  local full = math.min(spec.max_backoff_ms, spec.initial_backoff_ms * spec.multiplier ^ (tries - 1))
  call.backoffs = (call.backoffs or 0) + 1
  return math.floor(full * (1 - (random + call.backoffs * 0.6180339887) % 1 / 2))
end

function Step.fail(task, step, failure, final, spent, random)
  local spec = Step.spec(step)
  release(task, step, spent)
  if task.state == 'cancelling' then
    finish(task, step, CANCELLED, failure, spent)
    return settle_task(task)
  end
  step.tries = step.tries + 1
  if final or step.tries >= spec.max_attempts then
    finish(task, step, FAILED, failure, spent)
    return Step.stop(task, 'failed', failure)
  end
  local delay = backoff_ms(spec, step.tries, random)
  changed(task, step, BACKOFF)
  step.failure = failure
  redis.call('ZADD', K('timers'), call.now + delay, ref(task, step))
  Task.event(task, 'step_retried', string.format('%s%s,"delay_ms":%d%s', named(step), failure_json(failure), delay,
    attempt_json(step, spent)))
end

-- Back to the head of the waiting room, at no try. `died` counts the loss of its worker.
function Step.requeue(task, step, failure, died, spent)
  release(task, step, spent)
  if died then step.deaths = step.deaths + 1 end
  if task.state == 'cancelling' then
    finish(task, step, CANCELLED, failure, spent)
    return settle_task(task)
  end
  if step.deaths >= policy('max_deaths') then
    finish(task, step, FAILED, failure, spent)
    return Step.stop(task, 'failed', failure)
  end
  step.failure = failure
  Task.event(task, 'step_retried', string.format('%s%s,"delay_ms":0%s', named(step), failure_json(failure),
    attempt_json(step, spent)))
  Step.ready(task, step, true)
end

function Step.cancelled(task, step, spent)
  release(task, step, spent)
  finish(task, step, CANCELLED, nil, spent)
  settle_task(task)
end

local function cancel_waiting(task, step)
  if step.state == BACKOFF then redis.call('ZREM', K('timers'), ref(task, step)) end
  if step.state == READY then
    redis.call('SADD', K('sweep'), Step.spec(step).agent .. ':' .. task.priority)
  end
  finish(task, step, CANCELLED)
end

-- RUNNING -> CANCELLING -> `outcome`: every step that does not run ends at once; workers are told to stop the
-- others, and the run deadline of those moves up, so that no agent can hold the task for long.
function Step.stop(task, outcome, failure)
  task.state, task.outcome, task.failure, task.changed = 'cancelling', outcome, failure, true
  if task.open > 0 then
    Task.event(task, 'task_cancelling', failure_json(failure))
    Step.load_all(task)
    for number = 1, task.steps do
      local step = task.step[number]
      if step.state == RUNNING then
        redis.call('ZADD', K('held', step.worker), 'LT', call.now + policy('cancel_grace_ms'), ref(task, step))
        redis.call('PUBLISH', K('control', step.worker), ref(task, step))
      elseif step.state < SUCCEEDED then
        cancel_waiting(task, step)
      end
    end
  end
  settle_task(task)
end
