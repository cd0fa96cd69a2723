-- attach_plan: PLANNING -> RUNNING
-- Gives a task its plan, if it still has the revision that the planner saw.
-- Keys: task, events, planning, waiting, ready, queue.
-- Arguments: now, id, expected revision, planning round, then what `Task.read_plan` reads.
-- Reply: 1, or 0 if the task is gone, stopped or planned already. Events: task_planned, step_ready, step_waiting.

local function attach_plan(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  if not task or task.state ~= 'planning' or task.revision ~= tonumber(args[3]) or task.round ~= tonumber(args[4]) then
    return 0
  end
  local plan = Task.read_plan(args, 5)
  redis.call('ZREM', K('planning'), task.id)
  redis.call('HDEL', K('task', task.id), 'note')
  Money.abandon_planner(task)
  task.state = 'running'
  Task.plan_first(task, plan)
  Queue.settle_rooms()
  flush()
  return 1
end

register('attach_plan', attach_plan, 'allow-oom')
