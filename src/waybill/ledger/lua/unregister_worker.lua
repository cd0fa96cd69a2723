-- unregister_worker: (worker) live -> unknown
-- Says goodbye: whatever the worker still holds is handed back at no cost.
-- Keys: workers, worker, names, serving, held, queue, waiting, ready. Arguments: now, id.
-- Reply: number of steps handed back. Events: step_retried, step_ready for those.

local LEFT = '{"reason":"HANDED_BACK","message":"the worker stopped before the step ended; the step runs again"}'

local function unregister_worker(keys, args)
  begin(keys, args)
  local count = Worker.remove(args[2], LEFT, false)
  Queue.settle_rooms()
  flush()
  return count
end

register('unregister_worker', unregister_worker, 'allow-oom')
