-- Agents and tenants that an operator has paused: nothing of theirs starts. (A paused task is a state of the task.)

local function is_paused(name)
  if not call.paused then
    call.paused = {}
    for _, paused in ipairs(redis.call('SMEMBERS', K('paused'))) do call.paused[paused] = true end
  end
  return call.paused[name]
end

function Pause.agent(agent)
  return is_paused('agent:' .. agent)
end

function Pause.tenant(tenant)
  return is_paused('tenant:' .. tenant)
end
