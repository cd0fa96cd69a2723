-- decide_step: PENDING -> READY | WAITING | SKIPPED
-- Whether the conditions of a step hold. `turn` tells a decision from an earlier one of the same step.
-- Keys: decisions, task, events, waiting, ready, queue. Arguments: now, id, step number, turn, holds 0 or 1,
--   and why they do not hold or ''.
-- Reply: 1, or 0 if nothing is to be decided (any more). Events: step_ready, step_waiting, step_finished, task_finished.

local function decide_step(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  local step = task and Step.load(task, tonumber(args[3]))
  if not step or step.state ~= PENDING or step.blockers ~= 0 or step.turn ~= tonumber(args[4]) or step.parked == 1 then
    return 0
  end
  if not redis.call('ZSCORE', K('decisions'), task.id .. ':' .. step.number) then return 0 end
  if task.state == 'paused' then
    redis.call('ZREM', K('decisions'), task.id .. ':' .. step.number)
    step.parked, step.changed, task.changed = 1, true, true
  elseif task.state == 'running' then
    Step.decide(task, step, args[5] == '1', args[6] ~= '' and args[6] or nil)
  else
    return 0
  end
  Queue.settle_rooms()
  flush()
  return task.state == 'paused' and 0 or 1
end

register('decide_step', decide_step, 'allow-oom')
