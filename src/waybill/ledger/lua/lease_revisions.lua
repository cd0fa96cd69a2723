-- lease_revisions: RUNNING (nothing changes but who may revise)
-- Hands out tasks whose plan is to be revised; each is handed out again when the lease lapses without a patch. A paused task
-- is offered again when it is resumed.
-- Keys: revising, task. Arguments: now, lease_ms, limit.
-- Reply: for each task {id, tenant, goal, paths, trace, revision, round, numbers of failed steps, why the first of them
--   failed (JSON)}. Events: none.

local function lease_revisions(keys, args)
  begin(keys, args)
  local leased = {}
  for _, id in ipairs(redis.call('ZRANGE', K('revising'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, args[3])) do
    local task = Task.load(id)
    if not task or task.revising == 0 or task.state ~= 'running' then
      redis.call('ZREM', K('revising'), id)
    else
      redis.call('ZADD', K('revising'), call.now + tonumber(args[2]), id)
      local v, failed = redis.call('HMGET', K('task', id), 'goal', 'paths'), Revision.failed(task)
      leased[#leased + 1] = { id, task.tenant, v[1] or '', v[2] or '', Task.text(task, 'trace') or '', task.revision, task.round,
        failed, failed[1] and Revision.failure_of(task, failed[1]) or '' }
    end
  end
  return leased
end

register('lease_revisions', lease_revisions, 'allow-oom')
