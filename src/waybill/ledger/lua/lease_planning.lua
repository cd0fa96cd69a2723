-- lease_planning: PLANNING (nothing changes but who may plan)
-- Hands out tasks that wait for a plan; each is handed out again when the lease lapses without one.
-- Keys: planning, task. Arguments: now, lease_ms, limit.
-- Reply: for each task {id, tenant, goal, paths, trace, round}: a retry begins another round, and what belongs to an
--   earlier one is refused. Events: none.

local function lease_planning(keys, args)
  begin(keys, args)
  local leased = {}
  for _, id in ipairs(redis.call('ZRANGE', K('planning'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, args[3])) do
    local task = Task.load(id)
    local v = redis.call('HMGET', K('task', id), 'goal', 'paths')
    redis.call('ZADD', K('planning'), call.now + tonumber(args[2]), id)
    leased[#leased + 1] = { id, task and task.tenant or '', v[1] or '', v[2] or '', task and Task.text(task, 'trace') or '',
      task and task.round or 0 }
  end
  return leased
end

register('lease_planning', lease_planning, 'allow-oom')
