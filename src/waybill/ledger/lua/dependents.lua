-- What the end of a step means for those that depend on it: they go on, wait for their conditions to be looked at, or are
-- skipped. Nothing here recurses along a plan, so that a chain may be as long as one.

-- The step's conditions are to be looked at: a dispatcher does that, and `decide_step` tells what it found.
local function ask_conditions(task, step)
  step.turn, step.changed, task.changed = step.turn + 1, true, true
  redis.call('ZADD', K('decisions'), call.now, task.id .. ':' .. step.number)
  redis.call('PUBLISH', K('bell', 'decisions'), task.id)
end

-- No decision is asked for until the task is resumed.
function Step.withhold_decision(task, step)
  redis.call('ZREM', K('decisions'), task.id .. ':' .. step.number)
  park(task, step)
end

-- All that a PENDING step depends on has ended. Returns whether it is skipped for that.
local function arrive(task, step)
  if step.broken then return Step.reject(task, step) end
  local spec = Step.spec(step)
  if task.state == 'paused' then
    park(task, step)
  elseif step.skipped == 1 and not spec.allow_skipped then
    finish(task, step, SKIPPED)
    return true
  elseif #spec.conditions > 0 then
    ask_conditions(task, step)
  else
    Step.ready(task, step)
  end
end

-- What a step lets go on that succeeded or was skipped by its conditions. Skips pass on along the way.
function Step.unblock(task, step)
  local reached, passed = { step }, 0
  while #reached > 0 do
    local ended = table.remove(reached)
    passed = passed + 1
    -- A long way is read at once, not step by step.
    if passed == CHUNK then Step.load_all(task) end
    local dependents = Step.dependents(task, ended)
    if #dependents > 1 then Step.load_some(task, dependents) end
    for _, number in ipairs(dependents) do
      local dependent = Step.load(task, number)
      if dependent.broken and Step.is_open(dependent) then
        Step.reject(task, dependent)
      else
        dependent.blockers, dependent.changed = dependent.blockers - 1, true
        if ended.state == SKIPPED then dependent.skipped = 1 end
        if dependent.blockers == 0 and dependent.state == PENDING and arrive(task, dependent) then
          reached[#reached + 1] = dependent
        end
      end
    end
  end
end

-- A PENDING step that waits for nothing goes on, or is skipped, with what follows from that.
function Step.let_go(task, step)
  if arrive(task, step) then Step.unblock(task, step) end
end

-- What a dispatcher found of the step's conditions; `note` says why they do not hold.
function Step.decide(task, step, holds, note)
  redis.call('ZREM', K('decisions'), task.id .. ':' .. step.number)
  if step.broken then return Step.reject(task, step) end
  if holds then return Step.ready(task, step) end
  finish(task, step, SKIPPED, nil, nil, note)
  Step.unblock(task, step)
  Step.settle_task(task)
end

-- All that depends on the step and has not ended is skipped. With `for_good` it stays out when the task is retried, and
-- so does what was skipped before.
function Step.skip_dependents(task, failed, for_good)
  local reached = { failed }
  while #reached > 0 do
    for _, number in ipairs(Step.dependents(task, table.remove(reached))) do
      local dependent = Step.load(task, number)
      local goes = dependent.state == PENDING and not dependent.broken
      if goes then
        finish(task, dependent, SKIPPED)
      elseif dependent.broken and Step.is_open(dependent) then
        Step.reject(task, dependent)
      end
      if for_good and dependent.state == SKIPPED and dependent.dropped == 0 then
        dependent.dropped, dependent.changed, goes = 1, true, true
      end
      if goes then reached[#reached + 1] = dependent end
    end
  end
end

-- A step that has not started never shall.
function Step.drop(task, step)
  disarm(task, step)
  if step.state == READY then
    redis.call('SADD', K('sweep'), Step.spec(step).agent .. ':' .. task.priority)
    Line.quit(task, step)
  end
  finish(task, step, SKIPPED)
  step.dropped = 1
end
