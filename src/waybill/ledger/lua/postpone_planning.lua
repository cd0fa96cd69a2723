-- postpone_planning: PLANNING (nothing changes but when it is planned)
-- Plans a task later, and notes why for those who ask.
-- Keys: planning, task. Arguments: now, id, delay_ms, note, planning round. Reply: 1, or 0 if it no longer waits. Events: none.

local function postpone_planning(keys, args)
  begin(keys, args)
  if not redis.call('ZSCORE', K('planning'), args[2]) then return 0 end
  local task = Task.load(args[2])
  if not task or task.round ~= tonumber(args[5]) then return 0 end
  redis.call('ZADD', K('planning'), call.now + tonumber(args[3]), args[2])
  redis.call('HSET', K('task', args[2]), 'note', args[4])
  return 1
end

register('postpone_planning', postpone_planning, 'allow-oom')
