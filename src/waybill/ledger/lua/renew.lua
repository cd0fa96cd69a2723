-- renew: RUNNING -> READY (only for steps the ledger granted and the worker lacks)
-- A worker's heartbeat. It names what it holds, and learns what to stop.
-- Keys: workers, worker, held, task, events, waiting, ready, queue.
-- Arguments: now, worker, seen, held h, h times task:number:attempt.
-- Reply: {'unknown'} if the worker is not registered, else {'ok', to cancel, lost}.
-- Events: step_retried, step_ready for steps that are requeued.

local ABSENT = '{"reason":"WORKER_LOST","message":"the worker never received the step; it runs again"}'

local function renew(keys, args)
  begin(keys, args)
  local worker, seen = args[2], tonumber(args[3])
  if not Worker.beat(worker) then return { 'unknown' } end
  local named, cancelled, lost = {}, {}, {}
  for i = 5, 4 + tonumber(args[4]) do
    named[args[i]] = true
    local task, step = Worker.holding(args[i])
    if not step or step.worker ~= worker then
      lost[#lost + 1] = args[i]
    elseif task.state == 'cancelling' then
      cancelled[#cancelled + 1] = args[i]
    end
  end
  for _, member in ipairs(redis.call('ZRANGE', K('held', worker), 0, -1)) do
    if not named[member] then
      local task, step = Worker.holding(member)
      if step and step.granted <= seen then Step.requeue(task, step, ABSENT, false) end
    end
  end
  Queue.settle_rooms()
  flush()
  return { 'ok', cancelled, lost }
end

register('renew', renew, 'allow-oom')
