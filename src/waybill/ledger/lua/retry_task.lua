-- retry_task: FAILED | CANCELLED -> RUNNING | PLANNING
-- Runs an ended task again from what did not succeed; one that was cancelled before it began begins. Its deadline starts
-- anew, its dead letters are gone. Retrying a task that runs again already changes nothing.
-- Keys: task, events, planning, waiting, ready, queue, timers, expiry, ended, unarchived, dead, letters, call.
-- Arguments: now, id, tenant and id of the request (may be empty).
-- Reply: {'ok', state after the call} | {'missing'} | {'reused'} | {'wrong', state}.
--   {'full'} if the store is.
-- Events: task_retried, step_ready, step_waiting; task_planned if its plan was kept; task_finished if every step had
--   succeeded.

local function retry_task(keys, args)
  begin(keys, args)
  local task, reply, what = asked(args, 'retry')
  if reply then return reply end
  if task.state == 'succeeded' or task.state == 'cancelling' or task.state == 'scheduled' then
    return { 'wrong', task.state }
  end
  if task.state == 'failed' or task.state == 'cancelled' then
    if redis.call('HGET', K('pulse'), 'full') == '1' then return { 'full' } end
    local kept = task.start > 0 and Task.kept_steps(task)
    task.state, task.outcome, task.failure = task.steps + (kept or 0) > 0 and 'running' or 'planning', '', ''
    task.revisions, task.changed = 0, true
    Letter.drop_all(task.tenant, task.id, Task.text(task, 'letters'))
    task.letters = ''
    Task.keep_again(task)
    Task.event(task, 'task_retried', ',"state":"' .. task.state .. '"')
    if kept then
      Task.begin_kept(task, kept)
    else
      Task.set_deadline(task, task.deadline > 0 and tonumber(redis.call('HGET', K('task', task.id), 'span')))
      if task.steps > 0 then
        Step.reset_all(task)
      else
        task.round = task.round + 1
        Task.await_plan(task)
      end
    end
  end
  return answered(args, task, what)
end

register('retry_task', retry_task)
