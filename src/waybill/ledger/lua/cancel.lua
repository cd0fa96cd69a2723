-- cancel: SCHEDULED | PLANNING -> CANCELLED; RUNNING | PAUSED -> CANCELLING | CANCELLED
-- Stops a task. Steps that run are told to stop; all others end at once. Cancelling again changes nothing.
-- Keys: task, events, planning, held, timers, sweep, expiry, call; channel control.
-- Arguments: now, id, tenant and id of the request (may be empty).
-- Reply: {'ok', state after the call} | {'missing'} | {'reused'} | {'wrong', state}.
-- Events: task_cancelling, step_finished for each step that did not run, task_finished if none runs.

local function cancel(keys, args)
  begin(keys, args)
  local task, reply, what = asked(args, 'cancel')
  if reply then return reply end
  if task.state == 'succeeded' or task.state == 'failed' then return { 'wrong', task.state } end
  Task.cancel(task)
  return answered(args, task, what)
end

register('cancel', cancel, 'allow-oom')
