-- Every transition a step can make: those of one step here, those that follow for others in `dependents.lua` (decide,
-- drop, skips) and `stopping.lua` (stop, reset).
--
-- PENDING -> READY                 ready       when the last step it depends on succeeds
-- PENDING -> WAITING               ready       the same, for a step that asks a person
-- WAITING -> SUCCEEDED | FAILED    answer      by a person, or by a timer: the default, or none
-- READY   -> RUNNING               start       by a claim; the attempt grows
-- READY   -> FAILED                give_up     by a timer: it waited too long
-- RUNNING -> SUCCEEDED             succeed     unblocks its dependents
-- RUNNING -> BACKOFF | FAILED      fail        by the retry policy
-- RUNNING -> READY | FAILED        requeue     when its worker is lost or hands it back
-- RUNNING -> READY | FAILED        died        when its own process died under it
-- RUNNING -> WAITING | FAILED      over_budget when its next model call would cross a budget
-- WAITING -> READY | FAILED        raise       by a person who says how much may be spent besides
-- BACKOFF -> READY                 ready       by a timer
-- PENDING -> SKIPPED               give_up     when what it depends on failed, in a plan that goes on
-- PENDING -> SKIPPED               decide      when its conditions do not hold, or by what it depends on being skipped
-- not started -> SKIPPED           drop        by a patch
-- any     -> CANCELLED             stop        when its task stops
-- all but SUCCEEDED -> PENDING     reset       when its task is retried; SKIPPED if a revision has taken it out
-- In a paused task nothing becomes RUNNING: what would start or unblock others is parked until the task is resumed.
-- Events: step_ready, step_waiting, step_started, step_retried, step_finished.

local TOO_LONG_QUEUED = '{"reason":"QUEUE_TIMEOUT","message":"no worker took the step within its queue_timeout_ms"}'
local NO_ANSWER = '{"reason":"ANSWER_TIMEOUT","message":"nobody answered within the timeout of the question"}'
local BUDGET_QUESTION = 'a budget does not allow the next model call: how many micro-dollars may the task spend besides?'
local BUDGET_RAISED = '{"reason":"BUDGET_RAISED","message":"a person allowed more"}'
local BUDGET_EXHAUSTED = '{"reason":"BUDGET_EXHAUSTED","message":"a budget does not allow the next model call"}'
local UNDECODABLE = '{"reason":"UNDECODABLE","message":"the stored step cannot be decoded"}'

local function arm(task, step, delay_ms)
  redis.call('ZADD', K('timers'), call.now + delay_ms, ref(task, step))
end

local function disarm(task, step)
  redis.call('ZREM', K('timers'), ref(task, step))
end

-- To go on when the task is resumed.
local function park(task, step)
  step.parked, step.changed, task.changed = 1, true, true
end

local function ask(task, step)
  changed(task, step, WAITING)
  step.attempt, step.started, step.ready, step.worker = step.attempt + 1, call.now, call.now, ''
  local question = Step.spec(step).question
  if question.timeout_ms > 0 then arm(task, step, question.timeout_ms) end
  Task.event(task, 'step_waiting', named(step) .. ',"message":' .. cjson.encode(question.prompt))
end

-- The patience of a READY step with the queue begins.
function Step.arm_patience(task, step)
  local queue_timeout_ms = Step.spec(step).queue_timeout_ms
  if queue_timeout_ms > 0 then arm(task, step, queue_timeout_ms) end
end

-- Seats a READY step in its waiting room; in a paused task it is parked instead.
function Step.seat(task, step, first)
  if step.broken then return Step.reject(task, step) end
  local spec = Step.spec(step)
  if task.state ~= 'running' then return park(task, step) end
  Step.arm_patience(task, step)
  Queue.wait(spec.agent, task.priority, task.tenant, task.id .. ':' .. step.number, first)
end

function Step.ready(task, step, first)
  if step.broken then return Step.reject(task, step) end
  local spec = Step.spec(step)
  if spec.question then return ask(task, step) end
  changed(task, step, READY)
  step.ready = call.now
  Task.event(task, 'step_ready', ',"step":"' .. spec.name .. '"')
  Step.seat(task, step, first)
end

-- So many milliseconds from now: steps that start together mostly have the same.
local function deadline_text(span)
  local text = call.deadlines[span]
  if not text then
    text = integer(call.now + span)
    call.deadlines[span] = text
  end
  return text
end

function Step.start(task, step, worker, exchange)
  local spec = Step.spec(step)
  if spec.queue_timeout_ms > 0 then disarm(task, step) end
  changed(task, step, RUNNING)
  step.attempt, step.started, step.worker, step.granted = step.attempt + 1, call.now, worker, exchange
  if step.said ~= 0 then step.said = 0 end
  step.last_wait = math.max(0, call.now - step.ready)
  step.wait, task.wait = step.wait + step.last_wait, task.wait + step.last_wait
  task.running = task.running + 1
  local held = call.claimed[worker] or {}
  call.claimed[worker] = held
  held[#held + 1] = deadline_text(spec.run_timeout_ms)
  held[#held + 1] = ref(task, step)
  Task.event(task, 'step_started', named(step) .. ',"agent":"' .. spec.agent .. '","worker":"' .. worker .. '"')
end

-- RUNNING ends: the worker no longer holds it, and what the attempt used is counted.
local function release(task, step, spent)
  local released = call.released[step.worker] or {}
  call.released[step.worker] = released
  released[#released + 1] = ref(task, step)
  task.running = task.running - 1
  Limit.release(task, step)
  Money.abandon(task, step)
  if spent then
    step.run, task.run = step.run + spent.run_ms, task.run + spent.run_ms
    if not Usage.is_none(spent) then Money.report(task, step, spent) end
  end
end

local function attempt_json(step, spent)
  if not spent then return '' end
  local wait_ms, run_ms = step.last_wait, spent.run_ms
  return Usage.json(spent) .. ',"wait_ms":' .. (TEXT[wait_ms] or wait_ms) .. ',"run_ms":' .. (TEXT[run_ms] or run_ms)
end

-- `note` says why, where that is no failure.
local function finish(task, step, state, failure, spent, note)
  changed(task, step, state)
  call.ended = (call.ended or 0) + 1
  -- Without a failure of its own it keeps the last one, which this very call may have told.
  step.ended = call.now
  if failure then step.failure = failure end
  if step.turn > 0 then redis.call('ZREM', K('decisions'), task.id .. ':' .. step.number) end
  task.open = task.open - 1
  Task.event(task, 'step_finished', named(step) .. ',"step_state":"' .. STATE_NAMES[state] .. '"'
    .. (note and (',"message":' .. cjson.encode(note)) or '') .. failure_json(failure) .. attempt_json(step, spent))
end

-- Ends the task once no step is left that could change, and no revision of its plan is under way.
function Step.settle_task(task)
  if task.open > 0 or task.revising == 1 then return end
  if task.state == 'succeeded' or task.state == 'failed' or task.state == 'cancelled' then return end
  Task.finish(task, task.outcome and task.outcome ~= '' and task.outcome or 'succeeded')
end

local function commit(task, step, output, spent, patch)
  finish(task, step, SUCCEEDED, nil, spent)
  step.output = output
  if step.suspect ~= 0 then step.suspect = 0 end
  if patch then Patch.apply(task, patch, step) end
  if task.state == 'running' then
    Step.unblock(task, step)
  elseif task.state == 'paused' then
    step.parked = 1
  end
  Step.settle_task(task)
end

-- `patch`: what the agent adds to the plan, if it does.
function Step.succeed(task, step, output, spent, patch)
  release(task, step, spent)
  commit(task, step, output, spent, patch)
end

-- The step fails for good: its plan is revised, or its task stops, or goes on without what depends on it.
local function give_up(task, step, failure, spent)
  finish(task, step, FAILED, failure, spent)
  if Revision.request(task, step, failure) then return end
  if task.on_failure ~= 'continue' then return Step.stop(task, 'failed', failure) end
  if failure_json(Task.text(task, 'failure')) == '' then task.failure = failure end
  task.outcome = 'failed'
  Step.skip_dependents(task, step)
  Step.settle_task(task)
end

local function bury(task, step, failure, spent)
  Letter.write(task, step, failure)
  give_up(task, step, failure, spent)
end

-- A step that does not run and cannot be decoded.
function Step.reject(task, step)
  disarm(task, step)
  Money.abandon_all(task, step.number)
  bury(task, step, UNDECODABLE)
end

-- In a task that stops a running step ends as cancelled, whatever it came to. Returns whether it was so.
local function stopped(task, step, failure, spent)
  if task.state ~= 'cancelling' then return false end
  finish(task, step, CANCELLED, failure, spent)
  Step.settle_task(task)
  return true
end

-- Exponential backoff, of which a random part is taken off. A call brings one random number; multiples of the golden
-- ratio spread it over the steps that fail in the same call. What the agent asked for is never shortened.
local function backoff_ms(spec, tries, random, retry_after_ms)
  local full = math.min(spec.max_backoff_ms, spec.initial_backoff_ms * spec.multiplier ^ (tries - 1))
  call.backoffs = (call.backoffs or 0) + 1
  local part = (random + call.backoffs * 0.6180339887) % 1
  return math.max(retry_after_ms, math.floor(full * (1 - part * spec.jitter)))
end

local function is_final(spec, failure)
  local reason = string.match(failure, '"reason":"([^"]*)"')
  for _, final in ipairs(spec.final_reasons) do
    if final == reason then return true end
  end
  return false
end

function Step.fail(task, step, failure, final, spent, random, retry_after_ms)
  local spec = Step.spec(step)
  release(task, step, spent)
  if stopped(task, step, failure, spent) then return end
  step.tries, step.suspect = step.tries + 1, 0
  if final or step.tries >= spec.max_attempts or is_final(spec, failure) then
    return give_up(task, step, failure, spent)
  end
  local delay = backoff_ms(spec, step.tries, random, retry_after_ms or 0)
  changed(task, step, BACKOFF)
  step.failure = failure
  arm(task, step, delay)
  Task.event(task, 'step_retried', string.format('%s%s,"delay_ms":%d%s', named(step), failure_json(failure), delay,
    attempt_json(step, spent)))
end

-- Back to the head of the waiting room, at no try.
local function run_again(task, step, failure, spent)
  step.failure = failure
  Task.event(task, 'step_retried', string.format('%s%s,"delay_ms":0%s', named(step), failure_json(failure),
    attempt_json(step, spent)))
  Step.ready(task, step, true)
end

-- `lost`: its worker is gone, and it may be what took the worker down, so from now on it runs alone.
function Step.requeue(task, step, failure, lost, spent)
  release(task, step, spent)
  if lost then step.losses, step.suspect = step.losses + 1, 1 end
  if stopped(task, step, failure, spent) then return end
  if step.losses >= policy('max_losses') then return bury(task, step, failure, spent) end
  run_again(task, step, failure, spent)
end

-- The process that ran it alone died: that is evidence.
function Step.died(task, step, failure, spent)
  release(task, step, spent)
  step.deaths, step.suspect = step.deaths + 1, 1
  if stopped(task, step, failure, spent) then return end
  if step.deaths >= policy('max_deaths') then return bury(task, step, failure, spent) end
  run_again(task, step, failure, spent)
end

-- What the worker was handed cannot be read.
function Step.unreadable(task, step, failure, spent)
  release(task, step, spent)
  if stopped(task, step, failure, spent) then return end
  bury(task, step, failure, spent)
end

function Step.cancelled(task, step, spent)
  release(task, step, spent)
  stopped(task, step, nil, spent)
end

-- WAITING -> SUCCEEDED with the answer, JSON text.
function Step.answer(task, step, answer)
  disarm(task, step)
  commit(task, step, answer)
end

-- The step's next model call would cross a budget: a person is asked, if its task says so.
function Step.over_budget(task, step, failure, spent)
  if task.on_limit ~= 'ask' then return Step.fail(task, step, failure, true, spent) end
  release(task, step, spent)
  if stopped(task, step, failure, spent) then return end
  step.failure = failure
  Task.event(task, 'step_retried', string.format('%s%s,"delay_ms":0%s', named(step), failure_json(failure),
    attempt_json(step, spent)))
  changed(task, step, WAITING)
  step.attempt, step.started, step.ready, step.worker, step.broke = step.attempt + 1, call.now, call.now, '', 1
  Task.event(task, 'step_waiting', named(step) .. ',"message":' .. cjson.encode(BUDGET_QUESTION))
end

-- WAITING -> READY, for each step of the task that waits for this; `more` is added to the task's budget.
function Step.raise_budget(task, more)
  if task.budget > 0 then task.budget, task.changed = task.budget + more, true end
  Step.load_all(task)
  for number = 1, task.steps do
    local step = task.step[number]
    if step.state == WAITING and step.broke == 1 then
      step.broke, step.failure = 0, BUDGET_RAISED
      Task.event(task, 'step_retried', named(step) .. failure_json(BUDGET_RAISED) .. ',"delay_ms":0')
      Step.ready(task, step)
    end
  end
end

-- WAITING -> FAILED: no more may be spent.
function Step.refuse_budget(task, step)
  step.broke = 0
  give_up(task, step, BUDGET_EXHAUSTED)
end

-- A timer of this attempt is due. Returns whether it started a retry.
function Step.due(task, step)
  if step.broken and Step.is_open(step) and step.state ~= RUNNING then
    Step.reject(task, step)
    return false
  elseif step.state == BACKOFF then
    Step.ready(task, step)
    return true
  end
  local spec = Step.spec(step)
  if step.state == WAITING and step.broke == 1 then return false end
  if step.state == WAITING then
    if spec.question.default ~= '' then
      Step.answer(task, step, spec.question.default)
    else
      give_up(task, step, NO_ANSWER)
    end
  elseif step.state == READY then
    if task.state == 'paused' then return false end
    if Pause.agent(spec.agent) or Pause.tenant(task.tenant) then
      arm(task, step, spec.queue_timeout_ms)
    else
      redis.call('SADD', K('sweep'), spec.agent .. ':' .. task.priority)
      Line.quit(task, step)
      give_up(task, step, TOO_LONG_QUEUED)
    end
  end
  return false
end
