-- submit: (nothing) -> PLANNING | RUNNING | SCHEDULED
-- Accepts a task once for its tenant and request id: the task and its first queue entries exist, or nothing does.
-- Keys: request, task, events, documents, index, planning, timers; with a plan also waiting, ready, queue.
-- Arguments: now, id, tenant, request id, fingerprint, goal, input, labels, paths, priority, trace, template,
--   milliseconds to the deadline or 0, sinks, agents, failure policy, budget, what to do at its limit, policy,
--   start (epoch milliseconds; one that has passed, or nothing, is now), documents d, d packed documents, steps n, then
--   n times: packed spec, input, number of blockers. Texts that are empty are not stored.
-- Reply: {'created', id, created ms, events} | {'exists', id} | {'reused'} | {'full'}.
-- Events: task_accepted; with a plan that begins now task_planned and step_ready or step_waiting for each first step.

local function submit(keys, args)
  begin(keys, args)
  local reply = Task.accept(args, 2)
  Queue.settle_rooms()
  flush()
  return reply
end

register('submit', submit)
