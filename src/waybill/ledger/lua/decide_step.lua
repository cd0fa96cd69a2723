-- decide_step: PENDING -> READY | WAITING | SKIPPED
-- Whether the conditions of a step hold. `turn` tells a decision from an earlier one of the same step. In a paused task the
-- step is decided when the task is resumed.
-- Keys: decisions, task, events, waiting, ready, queue. Arguments: now, id, step number, turn, holds 0 or 1,
--   and why they do not hold or ''.
-- Reply: 1, or 0 if nothing is to be decided (any more). Events: step_ready, step_waiting, step_finished, task_finished.

local function decide_step(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  local step = task and Step.load(task, tonumber(args[3]))
  if not step or step.state ~= PENDING or step.turn ~= tonumber(args[4]) then return 0 end
  if not redis.call('ZSCORE', K('decisions'), task.id .. ':' .. step.number) then return 0 end
  local decides = task.state == 'running'
  if decides then
    Step.decide(task, step, args[5] == '1', args[6] ~= '' and args[6] or nil)
  else
    Step.withhold_decision(task, step)
  end
  Queue.settle_rooms()
  flush()
  return decides and 1 or 0
end

register('decide_step', decide_step, 'allow-oom')
