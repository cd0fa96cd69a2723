-- lease_revisions: RUNNING (nothing changes but who may revise)
-- Hands out tasks whose plan is to be revised; each is handed out again when the lease lapses without a patch. A paused task
-- waits until it is resumed.
-- Keys: revising, task. Arguments: now, lease_ms, limit.
-- Reply: for each task {id, tenant, goal, paths, trace, revision, round, numbers of failed steps}. Events: none.

local PAUSED_AGAIN_MS = 500

local function lease_revisions(keys, args)
  begin(keys, args)
  local leased = {}
  for _, id in ipairs(redis.call('ZRANGE', K('revising'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, args[3])) do
    local task = Task.load(id)
    if not task or task.revising == 0 then
      redis.call('ZREM', K('revising'), id)
    elseif task.state == 'paused' then
      redis.call('ZADD', K('revising'), call.now + PAUSED_AGAIN_MS, id)
    else
      redis.call('ZADD', K('revising'), call.now + tonumber(args[2]), id)
      local v = redis.call('HMGET', K('task', id), 'goal', 'paths')
      leased[#leased + 1] = { id, task.tenant, v[1] or '', v[2] or '', task.trace or '', task.revision, task.round,
        Revision.failed(task) }
    end
  end
  return leased
end

register('lease_revisions', lease_revisions, 'allow-oom')
