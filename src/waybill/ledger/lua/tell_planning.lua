-- tell_planning: PLANNING | RUNNING (nothing changes but the history)
-- Adds what the planner tells of its work, while it works on the task in this round.
-- Keys: task, events. Arguments: now, id, round, most events a task may have, events (JSON objects without a time).
-- Reply: 1, or 0 if the round is over. Events: those given.

local function tell_planning(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  if not task or not Task.is_planned(task, tonumber(args[3])) then return 0 end
  if redis.call('LLEN', K('events', task.id)) + #args - 4 >= tonumber(args[4]) then return 1 end
  for i = 5, #args do
    task.events[#task.events + 1] = '{"time_ms":' .. integer(call.now) .. ',' .. string.sub(args[i], 2)
  end
  flush()
  return 1
end

register('tell_planning', tell_planning, 'allow-oom')
