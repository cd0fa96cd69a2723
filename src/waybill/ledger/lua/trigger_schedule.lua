-- trigger_schedule: (task) nothing -> SCHEDULED | PLANNING | RUNNING
-- Fires a schedule now, paused or not, whatever its overlap policy. What is due later stays.
-- Keys: schedule, firings, active, call; and what `submit` uses.
-- Arguments: now, tenant, id, id of the request (may be empty), then what `submit` takes, of one task.
-- Reply: {'created', id, now, number of its events} | {'exists', id}, also to the same request made again | {'reused'} |
--   {'full'} | {'missing'}.
-- Events: those of `submit`.

local FIRST = 5

local function trigger_schedule(keys, args)
  begin(keys, args)
  local tenant, id = args[2], args[3]
  local what = 'trigger schedule ' .. id .. ' '
  local known = args[4] ~= '' and redis.call('GET', K('call', tenant, args[4]))
  if known then
    if string.sub(known, 1, #what) ~= what then return { 'reused' } end
    -- A caller who waits for replicas needs a write of this very call to wait for.
    Request.keep(tenant, args[4], known)
    return { 'exists', string.sub(known, #what + 1) }
  end
  local schedule = Schedule.load(tenant, id)
  if not schedule then return { 'missing' } end
  local outcome, task_id = Schedule.submit(schedule, call.now, args, FIRST, true)
  if outcome ~= 'created' then return { outcome, task_id } end
  local reply = { outcome, task_id, call.now, #Task.load(task_id).events }
  Request.keep(tenant, args[4], what .. task_id)
  Queue.settle_rooms()
  flush()
  return reply
end

register('trigger_schedule', trigger_schedule)
