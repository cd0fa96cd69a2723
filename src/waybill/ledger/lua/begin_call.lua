-- begin_call: (call) none -> open
-- A model call is about to be made: its worst case is reserved in the budgets of its task, tenant and day, and it holds a
-- permit of its endpoint's limit. `nonce` tells a repeated call of this function from a second one.
-- Keys: task, held, calls, artifacts, budget, usage, limits, limit, permits, line, lined.
-- Arguments: now, worker, task:number:attempt (number 0 and no worker for the planner, its round in place of the attempt),
--   call, nonce, model, endpoint, worst case (six numbers), most at once, requests and tokens a minute as configured
--   (0: no limit), most calls a task may have, patient 0 or 1 (0: it stands in no line), prompt to keep or ''.
-- Reply: {'go'} | {'wait', ms} | {'over', scope, microusd left, on_limit} | {'stale'} | {'full'}. Events: step_finished for
--   a step that is called up and cannot be decoded.

local BUDGET_WAIT_MS = 250

-- The task and the step of an attempt that may call models; no step for the planner.
local function caller_of(worker, member)
  local id, number, attempt = string.match(member, '^([^:]+):(%d+):(%d+)$')
  if number == '0' then
    local task = Task.load(id)
    if task and Task.is_planned(task, tonumber(attempt)) then return task, nil, 0, tonumber(attempt) end
    return nil
  end
  local task, step = Worker.holding(member)
  if step and step.worker == worker and task.state ~= 'cancelling' then
    return task, step, step.number, step.attempt
  end
end

local function begin_call(keys, args)
  begin(keys, args)
  local task, step, number, attempt = caller_of(args[2], args[3])
  if not task then return { 'stale' } end
  local name, nonce, endpoint = args[4], args[5], args[7]
  local at = 7
  local worst = Usage.read(function()
    at = at + 1
    return args[at]
  end)
  local rates = { tonumber(args[14]), tonumber(args[15]), tonumber(args[16]) }
  local tokens = worst.input_tokens + worst.output_tokens
  local record = Money.load(task, number, attempt, name)
  if record then return { record.nonce == nonce and record.state == 'open' and 'go' or 'stale' } end
  local holder, verdict, scope, left = args[3] .. ':' .. name, Money.obstacle(task, worst.cost)
  if redis.call('HLEN', K('calls', task.id)) >= tonumber(args[17]) then verdict = 'full' end
  if verdict then
    Limit.leave(task, holder, endpoint, tokens)
    Queue.settle_rooms()
    flush()
    if verdict == 'over' then return { 'over', scope, left, task.on_limit or 'stop' } end
    return { verdict, BUDGET_WAIT_MS }
  end
  local wait_ms = Limit.admit(task, step, holder, endpoint, tokens, rates, args[18] == '1')
  -- A step's permit that is given back goes to who waits; and this call may lead the line of a limit that has room again.
  Queue.settle_rooms()
  if wait_ms and not Limit.keep(holder, endpoint) then
    flush()
    return { 'wait', wait_ms }
  end
  Money.open(task, step, number, attempt, name, nonce, args[6], endpoint, worst)
  Artifact.keep(task, number, attempt, name, 'prompt', args[19])
  flush()
  return { 'go' }
end

register('begin_call', begin_call)
