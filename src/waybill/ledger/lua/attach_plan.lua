-- attach_plan: PLANNING -> RUNNING
-- Gives a task its plan, if it still has the revision that the planner saw.
-- Keys: task, events, planning, waiting, ready, queue.
-- Arguments: now, id, expected revision, planning round, sinks, agents, failure policy, steps n, then n times: packed spec, input,
--   number of blockers.
-- Reply: 1, or 0 if the task is gone, stopped or planned already. Events: task_planned, step_ready, step_waiting.

local function attach_plan(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  if not task or task.state ~= 'planning' or task.revision ~= tonumber(args[3]) or task.round ~= tonumber(args[4]) then
    return 0
  end
  redis.call('ZREM', K('planning'), task.id)
  redis.call('HSET', K('task', task.id), 'state', 'running', 'sinks', args[5], 'agents', args[6], 'on_failure', args[7],
    'planned', integer(call.now))
  redis.call('HDEL', K('task', task.id), 'note')
  Money.abandon_planner(task)
  task.state, task.on_failure = 'running', args[7]
  Task.plan(task, args, 9, tonumber(args[8]))
  Queue.settle_rooms()
  flush()
  return 1
end

register('attach_plan', attach_plan, 'allow-oom')
