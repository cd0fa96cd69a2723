-- append_events: RUNNING (nothing changes but the history)
-- Adds what an agent tells of its attempt: progress and text. `position` is how many events of the attempt the worker
-- knows to be added; what the ledger already has beyond that is a repetition and is left out.
-- Keys: task, events. Arguments: now, worker, task:number:attempt, most events a task may have, position, events e
--   (JSON objects without a time).
-- Reply: 1; 0 if the attempt is stale; -1 if the task has too many events. Events: those given.

local FIRST_EVENT = 6

local function append_events(keys, args)
  begin(keys, args)
  local task, step = Worker.holding(args[3])
  if not step or step.worker ~= args[2] then return 0 end
  if redis.call('LLEN', K('events', task.id)) + #args - FIRST_EVENT >= tonumber(args[4]) then return -1 end
  local repeated = math.max(0, step.said - tonumber(args[5]))
  for i = FIRST_EVENT + repeated, #args do
    task.events[#task.events + 1] = '{"time_ms":' .. integer(call.now) .. ',' .. string.sub(args[i], 2)
  end
  step.said, step.changed, task.changed = step.said + #task.events, true, true
  flush()
  return 1
end

register('append_events', append_events, 'allow-oom')
