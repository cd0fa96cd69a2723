-- fail_planning: PLANNING -> FAILED
-- Ends a task that no plan can be made for.
-- Keys: task, events, planning, expiry. Arguments: now, id, failure (JSON), planning round.
-- Reply: 1, or 0 if the task no longer waits for a plan. Events: task_finished.

local function fail_planning(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  if not task or task.state ~= 'planning' or task.round ~= tonumber(args[4]) then return 0 end
  redis.call('ZREM', K('planning'), task.id)
  task.failure = args[3]
  Task.finish(task, 'failed')
  Queue.settle_rooms()
  flush()
  return 1
end

register('fail_planning', fail_planning, 'allow-oom')
