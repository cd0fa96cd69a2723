-- patch_plan: RUNNING (the plan has its next revision)
-- Changes the plan of a task, if it still has the revision and the round that the planner saw. If only its revision has
-- changed, as an agent has added steps, it is offered again at once.
-- Keys: revising, task, events, timers, decisions, waiting, ready, queue, sweep.
-- Arguments: now, id, expected revision, round, failed f, f numbers of the failed steps that the planner saw, then the patch
--   (`Patch.read`).
-- Reply: {'ok'} | {'stale'} | {'full'} | {'refused', why}. Events: plan_revised, step_finished, step_ready, step_waiting,
--   task_cancelling, task_finished.

local function patch_plan(keys, args)
  begin(keys, args)
  local task = Task.load(args[2])
  if not task or task.state ~= 'running' or task.revising == 0 or task.round ~= tonumber(args[4]) then
    return { 'stale' }
  end
  if task.revision ~= tonumber(args[3]) then
    Revision.offer(task)
    return { 'stale' }
  end
  if Patch.no_room() then return { 'full' } end
  local at, failed = 4, {}
  local function next()
    at = at + 1
    return args[at]
  end
  for i = 1, tonumber(next()) do failed[i] = tonumber(next()) end
  for _, number in ipairs(failed) do
    if not Step.load(task, number) then return { 'refused', 'there is no step number ' .. number } end
  end
  local patch = Patch.read(next)
  local defect = Patch.defect(task, patch)
  if defect then return { 'refused', defect } end
  redis.call('HDEL', K('task', task.id), 'note')
  Patch.apply(task, patch, nil, failed)
  Revision.made(task)
  Step.settle_task(task)
  Queue.settle_rooms()
  flush()
  return { 'ok' }
end

register('patch_plan', patch_plan, 'allow-oom')
