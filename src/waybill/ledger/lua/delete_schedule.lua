-- delete_schedule: (schedule) set -> none
-- Its tasks go on. A decision that was made for it finds nothing.
-- Keys: schedule, schedules, firings, active, due, call.
-- Arguments: now, tenant, id, id of the request (may be empty).
-- Reply: 'ok' | 'missing' | 'reused'. Events: none.

local function delete_schedule(keys, args)
  begin(keys, args)
  local tenant, id, what = args[2], args[3], 'delete schedule ' .. args[3]
  local seen = Request.seen(tenant, args[4], what)
  if seen then return seen == 'known' and 'ok' or 'reused' end
  if redis.call('ZREM', K('schedules', tenant), id) == 0 then return 'missing' end
  redis.call('DEL', K('schedule', tenant, id), K('firings', tenant, id), K('active', tenant, id))
  redis.call('ZREM', K('due'), tenant .. ':' .. id)
  Request.keep(tenant, args[4], what)
  return 'ok'
end

register('delete_schedule', delete_schedule, 'allow-oom')
