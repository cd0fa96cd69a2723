-- resume_task: PAUSED -> RUNNING
-- Lets a task go on: seats what became ready meanwhile, unblocks what follows on steps that succeeded meanwhile, and has
-- conditions decided and its plan revised.
-- Keys: task, events, waiting, ready, queue, timers, decisions, revising, call.
-- Arguments: now, id, tenant and id of the request (may be empty).
-- Reply: {'ok', state after the call} | {'missing'} | {'reused'} | {'wrong', state}.
-- Events: task_resumed, step_ready, step_waiting, step_finished, task_finished.

local function resume_task(keys, args)
  begin(keys, args)
  local task, reply, what = asked(args, 'resume')
  if reply then return reply end
  if task.state == 'paused' then
    task.state, task.changed = 'running', true
    Task.event(task, 'task_resumed', '')
    Step.load_all(task)
    for number = 1, task.steps do
      local step = task.step[number]
      if step.parked == 1 then
        step.parked, step.changed = 0, true
        if step.state == READY then Step.seat(task, step) end
        if step.state == SUCCEEDED then Step.unblock(task, step) end
        if step.state == PENDING then Step.let_go(task, step) end
      elseif step.state == READY then
        Step.arm_patience(task, step)
      end
    end
    Revision.offer(task)
    Step.settle_task(task)
  elseif task.state ~= 'running' then
    return { 'wrong', task.state }
  end
  return answered(args, task, what)
end

register('resume_task', resume_task, 'allow-oom')
