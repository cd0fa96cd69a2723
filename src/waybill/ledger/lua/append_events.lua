-- append_events: RUNNING (nothing changes but the history)
-- Adds what an agent tells of its attempt: progress and text.
-- Keys: task, events. Arguments: now, worker, task:number:attempt, most events a task may have, events e (JSON
--   objects without a time).
-- Reply: 1; 0 if the attempt is stale; -1 if the task has too many events. Events: those given.

local function append_events(keys, args)
  begin(keys, args)
  local task, step = Worker.holding(args[3])
  if not step or step.worker ~= args[2] then return 0 end
  if redis.call('LLEN', K('events', task.id)) + #args - 4 > tonumber(args[4]) then return -1 end
  for i = 5, #args do
    task.events[#task.events + 1] = '{"time_ms":' .. integer(call.now) .. ',' .. string.sub(args[i], 2)
  end
  flush()
  return 1
end

register('append_events', append_events)
