-- cancel: PLANNING -> CANCELLED; RUNNING -> CANCELLING | CANCELLED
-- Stops a task. Steps that run are told to stop; all others end at once. Cancelling again changes nothing.
-- Keys: task, events, planning, held, timers, sweep, expiry; channel control. Arguments: now, id.
-- Reply: the state after the call, or '' if there is no such task.
-- Events: task_cancelling, step_finished for each step that did not run, task_finished if none runs.

local function cancel(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  if not task then return '' end
  if task.state == 'planning' then
    redis.call('ZREM', K('planning'), task.id)
    Task.finish(task, 'cancelled')
  elseif task.state == 'running' then
    Step.stop(task, 'cancelled')
  end
  flush()
  return task.state
end

register('cancel', cancel, 'allow-oom')
