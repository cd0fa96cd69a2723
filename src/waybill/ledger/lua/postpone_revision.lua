-- postpone_revision: RUNNING (nothing changes but when the plan is revised)
-- Keys: revising, task. Arguments: now, id, round, delay_ms, note. Reply: 1, or 0 if no revision waits in that round.
-- Events: none.

local function postpone_revision(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  if not task or task.revising == 0 or task.round ~= tonumber(args[3]) then return 0 end
  redis.call('ZADD', K('revising'), call.now + tonumber(args[4]), task.id)
  redis.call('HSET', K('task', task.id), 'note', args[5])
  return 1
end

register('postpone_revision', postpone_revision, 'allow-oom')
