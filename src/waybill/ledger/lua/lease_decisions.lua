-- lease_decisions: PENDING (nothing changes but who may decide)
-- Hands out steps whose conditions are to be looked at; each is handed out again when the lease lapses without a decision.
-- Keys: decisions, task. Arguments: now, lease_ms, limit.
-- Reply: for each step {task, tenant, number, turn, conditions}, a condition being {JMESPath, step number}. Events: none.

local function lease_decisions(keys, args)
  begin(keys, args)
  local leased = {}
  for _, member in ipairs(redis.call('ZRANGE', K('decisions'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, args[3])) do
    local id, number = string.match(member, '^(.+):(%d+)$')
    local task = Task.load(id)
    local step = task and Step.load(task, tonumber(number))
    if not step or step.state ~= PENDING or step.broken or (task.state ~= 'running' and task.state ~= 'paused') then
      redis.call('ZREM', K('decisions'), member)
    elseif task.state == 'paused' then
      redis.call('ZREM', K('decisions'), member)
      step.parked, step.changed, task.changed = 1, true, true
    else
      redis.call('ZADD', K('decisions'), call.now + tonumber(args[2]), member)
      local conditions = {}
      for i, condition in ipairs(Step.spec(step).conditions) do conditions[i] = { condition[1], condition[2] } end
      leased[#leased + 1] = { id, task.tenant, step.number, step.turn, conditions }
    end
  end
  flush()
  return leased
end

register('lease_decisions', lease_decisions, 'allow-oom')
