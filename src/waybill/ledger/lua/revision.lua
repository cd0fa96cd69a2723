-- Revisions of a plan by the planner: asked for when a step fails for good, in rounds that fence what is late.

local MOST_REVISIONS = 3

-- A revision that is asked for may be leased from now on. A paused task is offered when it is resumed.
function Revision.offer(task)
  if task.revising == 0 or task.state ~= 'running' then return end
  redis.call('ZADD', K('revising'), call.now, task.id)
  redis.call('PUBLISH', K('bell', 'revising'), task.id)
end

local function begin_round(task)
  redis.call('HDEL', K('task', task.id), 'note')
  task.revising, task.round, task.changed = 1, task.round + 1, true
  Revision.offer(task)
end

local function is_left(task)
  return task.revisions < (Patch.policy(task).max_revisions or MOST_REVISIONS)
end

-- A step has failed for good. Returns whether the planner is asked for a revision. Event: revision_requested.
function Revision.request(task, step, failure)
  if task.on_failure ~= 'replan' and not string.match(failure, '"reason":"REPLAN"') then return false end
  if task.state ~= 'running' and task.state ~= 'paused' or not is_left(task) then return false end
  step.replan = 1
  Task.event(task, 'revision_requested', string.format(',"step":"%s","attempt":%d,"failure":%s', Step.spec(step).name,
    step.attempt, failure))
  if task.revising == 0 then begin_round(task) end
  return true
end

-- No revision is asked for any more.
function Revision.over(task)
  if task.revising == 0 then return end
  Money.abandon_planner(task)
  task.revising, task.changed = 0, true
  redis.call('ZREM', K('revising'), task.id)
end

-- The steps for whose failure a revision was asked, and that none has made up for.
function Revision.failed(task)
  Step.load_all(task)
  local failed = {}
  for number = 1, task.steps do
    local step = task.step[number]
    if step.state == FAILED and step.replan == 1 and step.dropped == 0 then failed[#failed + 1] = number end
  end
  return failed
end

-- Why a step failed, JSON text.
function Revision.failure_of(task, number)
  return task.step[number].failure or redis.call('HGET', K('task', task.id), 'err:' .. number) or ''
end

-- A patch was applied: the next round begins if steps have failed that it knew nothing of. Without another revision left
-- the task stops, unless what the patch reached has stopped it already.
function Revision.made(task)
  Revision.over(task)
  task.revisions = task.revisions + 1
  if task.state ~= 'running' then return end
  local failed = Revision.failed(task)
  if #failed == 0 then return end
  if is_left(task) then return begin_round(task) end
  Step.stop(task, 'failed', Revision.failure_of(task, failed[1]))
end
