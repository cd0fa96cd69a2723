-- Revisions of a plan by the planner: asked for when a step fails for good, in rounds that fence what is late.

local MOST_REVISIONS = 3

local function begin_round(task)
  task.revising, task.round, task.changed = 1, task.round + 1, true
  redis.call('ZADD', K('revising'), call.now, task.id)
  redis.call('PUBLISH', K('bell', 'revising'), task.id)
end

-- A step has failed for good. Returns whether the planner is asked for a revision. Event: revision_requested.
function Revision.request(task, step, failure)
  if task.on_failure ~= 'replan' and not string.match(failure, '"reason":"REPLAN"') then return false end
  if task.state ~= 'running' and task.state ~= 'paused' then return false end
  if task.revisions >= (Patch.policy(task).max_revisions or MOST_REVISIONS) then return false end
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

-- The steps that failed and that no patch has made up for.
function Revision.failed(task)
  Step.load_all(task)
  local failed = {}
  for number = 1, task.steps do
    local step = task.step[number]
    if step.state == FAILED and step.dropped == 0 then failed[#failed + 1] = number end
  end
  return failed
end

-- A patch was applied: the next round begins if steps have failed that it knew nothing of.
function Revision.made(task)
  Revision.over(task)
  task.revisions = task.revisions + 1
  if #Revision.failed(task) == 0 then return end
  if task.revisions < (Patch.policy(task).max_revisions or MOST_REVISIONS) then return begin_round(task) end
  local step = task.step[Revision.failed(task)[1]]
  Step.stop(task, 'failed', redis.call('HGET', K('task', task.id), 'err:' .. step.number) or step.failure)
end
