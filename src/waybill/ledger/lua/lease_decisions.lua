-- lease_decisions: PENDING (nothing changes but who may decide); what cannot be decoded: -> FAILED
-- Hands out steps whose conditions are to be looked at; each is handed out again when the lease lapses without a decision.
-- Keys: decisions, task, events. Arguments: now, lease_ms, limit.
-- Reply: for each step {task, tenant, number, turn, conditions}, a condition being {JMESPath, step number}.
-- Events: step_finished, task_cancelling, task_finished, for a step that cannot be decoded.

local function lease(member, lease_ms)
  local id, number = string.match(member, '^(.+):(%d+)$')
  local task = Task.load(id)
  local step = task and Step.load(task, tonumber(number))
  local is_alive = step and (task.state == 'running' or task.state == 'paused')
  if is_alive and not step.broken and step.state == PENDING and task.state == 'running' then
    redis.call('ZADD', K('decisions'), call.now + lease_ms, member)
    local conditions = {}
    for i, condition in ipairs(Step.spec(step).conditions) do conditions[i] = { condition[1], condition[2] } end
    return { id, task.tenant, step.number, step.turn, conditions }
  end
  redis.call('ZREM', K('decisions'), member)
  if is_alive and step.broken and Step.is_open(step) then
    Step.reject(task, step)
  elseif is_alive and step.state == PENDING then
    Step.withhold_decision(task, step)
  end
end

local function lease_decisions(keys, args)
  begin(keys, args)
  local leased = {}
  for _, member in ipairs(redis.call('ZRANGE', K('decisions'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, args[3])) do
    leased[#leased + 1] = lease(member, tonumber(args[2]))
  end
  Queue.settle_rooms()
  flush()
  return leased
end

register('lease_decisions', lease_decisions, 'allow-oom')
