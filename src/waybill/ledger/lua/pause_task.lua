-- pause_task: RUNNING -> PAUSED
-- Holds a task: what runs goes on to its end and counts, but starts and unblocks nothing. Its deadline, and waits for a
-- person, go on; waits in the queue do not.
-- Keys: task, events, call.
-- Arguments: now, id, tenant and id of the request (may be empty).
-- Reply: {'ok', state after the call} | {'missing'} | {'reused'} | {'wrong', state}.
-- Events: task_paused.

local function pause_task(keys, args)
  begin(keys, args)
  local task, reply, what = asked(args, 'pause')
  if reply then return reply end
  if task.state == 'running' then
    task.state, task.changed = 'paused', true
    Task.event(task, 'task_paused', '')
  elseif task.state ~= 'paused' then
    return { 'wrong', task.state }
  end
  return answered(args, task, what)
end

register('pause_task', pause_task, 'allow-oom')
