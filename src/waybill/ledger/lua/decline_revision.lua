-- decline_revision: RUNNING | PAUSED -> CANCELLING | FAILED
-- There is no revision: the task stops as if its plan said so.
-- Keys: revising, task, events, held, timers, sweep, expiry. Arguments: now, id, round, failure (JSON).
-- Reply: 1, or 0 if no revision waits in that round. Events: task_cancelling, step_finished, task_finished.

local function decline_revision(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  if not task or task.revising == 0 or task.round ~= tonumber(args[3]) then return 0 end
  Step.stop(task, 'failed', args[4])
  Queue.settle_rooms()
  flush()
  return 1
end

register('decline_revision', decline_revision, 'allow-oom')
