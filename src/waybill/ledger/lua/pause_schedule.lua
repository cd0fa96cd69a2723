-- pause_schedule: (schedule) due <-> paused
-- Paused, nothing of it is due, also no firing that waits for the end of a task; what is overdue is missed. Asking for
-- what is so already changes nothing.
-- Keys: schedule, firings, active, due, call; channel bell.
-- Arguments: now, tenant, id, id of the request (may be empty), 1 to pause or 0 to resume, expected revision, next due ms
--   once it is resumed or 0, number of firings that are overdue and ms of the newest.
-- Reply: 'ok' | 'missing' | 'stale' (another revision) | 'reused'. Events: none.

local function pause_schedule(keys, args)
  begin(keys, args)
  local tenant, id, paused = args[2], args[3], tonumber(args[5])
  local schedule, what = Schedule.load(tenant, id), (paused == 1 and 'pause' or 'resume') .. ' schedule ' .. id
  if not schedule then return 'missing' end
  local seen = Request.seen(tenant, args[4], what)
  if seen then return seen == 'known' and 'ok' or 'reused' end
  if schedule.paused ~= paused then
    if schedule.revision ~= tonumber(args[6]) then return 'stale' end
    schedule.paused, schedule.next = paused, tonumber(args[7])
    Schedule.record_overdue(schedule, tonumber(args[8]), tonumber(args[9]))
    Schedule.save(schedule)
  end
  Request.keep(tenant, args[4], what)
  return 'ok'
end

register('pause_schedule', pause_schedule, 'allow-oom')
