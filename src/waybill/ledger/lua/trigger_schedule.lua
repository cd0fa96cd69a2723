-- trigger_schedule: (task) nothing -> SCHEDULED | PLANNING | RUNNING
-- Fires a schedule now, paused or not, whatever its overlap policy. What is due later stays.
-- Keys: schedule, firings, active, call; and what `submit` uses.
-- Arguments: now, tenant, id, id of the request (may be empty), then what `submit` takes, from the id on.
-- Reply: as `submit`, and {'missing'}; {'exists', id} is also the reply to the same request made again.
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
  local reply = Schedule.submit(schedule, call.now, args, FIRST, true)
  if reply[1] == 'created' then Request.keep(tenant, args[4], what .. reply[2]) end
  Queue.settle_rooms()
  flush()
  return reply
end

register('trigger_schedule', trigger_schedule)
