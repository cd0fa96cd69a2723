-- submit: (nothing) -> PLANNING | RUNNING | SCHEDULED
-- Accepts tasks, each once for its tenant and request id and whatever becomes of the others: a task and its first queue
-- entries exist, or nothing does.
-- Keys: request, task, events, documents, index, planning, timers; with a plan also waiting, ready, queue.
-- Arguments: now, plans p, p times what `Task.read_plan` reads, tasks t, then t times: id, tenant, request id, fingerprint,
--   priority, number of its plan or 0, start (epoch milliseconds; one that has passed is now), documents d, options o, d
--   packed documents, o times name and value: goal, input, labels, paths, trace, template, span (milliseconds to the
--   deadline), budget, on_limit, policy.
-- Reply: now, then for each task: the number of its events | the id of the task that exists | -1 if its request id was used
--   for another submission | -2 if the store is full.
-- Events: task_accepted; with a plan that begins now task_planned and step_ready or step_waiting for each first step.

local REFUSED = { reused = -1, full = -2 }

local function submit(keys, args)
  begin(keys, args)
  local plans, at = Task.read_plans(args, 2)
  local replies, outcome, id = { call.now }, nil, nil
  local count = tonumber(args[at])
  at = at + 1
  for i = 1, count do
    at, outcome, id = Task.accept(args, at, plans)
    replies[i + 1] = outcome == 'created' and #call.tasks[id].events or outcome == 'exists' and id or REFUSED[outcome]
  end
  Queue.settle_rooms()
  flush()
  return replies
end

register('submit', submit)
