-- A task stops, and all of its steps with it; or it runs again from what did not succeed.

local function cancel_waiting(task, step)
  local spec = Step.spec(step)
  if step.state == BACKOFF or step.state == WAITING or spec.queue_timeout_ms > 0 then disarm(task, step) end
  if step.state == READY and spec.agent ~= '' then
    redis.call('SADD', K('sweep'), spec.agent .. ':' .. task.priority)
    Line.quit(task, step)
  end
  finish(task, step, CANCELLED)
end

-- RUNNING | PAUSED -> CANCELLING -> `outcome`: every step that does not run ends at once; workers are told to stop the
-- others, and the run deadline of those moves up, so that no agent can hold the task for long.
function Step.stop(task, outcome, failure)
  Revision.over(task)
  task.state, task.outcome, task.failure, task.changed = 'cancelling', outcome, failure or '', true
  if task.open > 0 then
    Task.event(task, 'task_cancelling', failure_json(failure))
    Step.load_all(task)
    for number = 1, task.steps do
      local step = task.step[number]
      if step.state == RUNNING then
        Worker.write_held()
        redis.call('ZADD', K('held', step.worker), 'LT', call.now + policy('cancel_grace_ms'), ref(task, step))
        redis.call('PUBLISH', K('control', step.worker), ref(task, step))
      elseif Step.is_open(step) then
        cancel_waiting(task, step)
      end
    end
  end
  Step.settle_task(task)
end

-- SCHEDULED | PLANNING -> CANCELLED; RUNNING | PAUSED -> CANCELLING | CANCELLED; all others stay.
function Task.cancel(task)
  if task.state == 'scheduled' then
    Task.call_off(task)
  elseif task.state == 'planning' then
    redis.call('ZREM', K('planning'), task.id)
    Task.finish(task, 'cancelled')
  elseif task.state == 'running' or task.state == 'paused' then
    Step.stop(task, 'cancelled')
  end
end

-- What a revision of the plan took out stays out.
local function leave_out(task, step)
  changed(task, step, SKIPPED)
  step.ended, step.failure = call.now, ''
  Task.event(task, 'step_finished', named(step) .. ',"step_state":"skipped"')
end

-- SUCCEEDED stays; all others begin anew, with their attempts counted on. Starts what waits for nothing.
function Step.reset_all(task)
  Step.load_all(task)
  task.open = 0
  for number = 1, task.steps do
    local step = task.step[number]
    step.parked, step.changed = 0, true
    if step.dropped == 1 then
      leave_out(task, step)
    elseif step.state ~= SUCCEEDED then
      changed(task, step, PENDING)
      step.tries, step.deaths, step.losses, step.suspect, step.ended, step.failure = 0, 0, 0, 0, 0, ''
      step.broke, step.skipped, step.replan = 0, 0, 0
      task.open, step.blockers = task.open + 1, 0
      for _, needed in ipairs(Step.spec(step).dependencies) do
        if task.step[needed].state ~= SUCCEEDED then step.blockers = step.blockers + 1 end
      end
    end
  end
  for number = 1, task.steps do
    local step = task.step[number]
    if step.state == PENDING and step.blockers == 0 then Step.let_go(task, step) end
  end
  Step.settle_task(task)
end
