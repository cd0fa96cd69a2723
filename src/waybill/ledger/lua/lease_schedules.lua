-- lease_schedules: (schedule) nothing changes but who may decide
-- Hands out schedules that are due; each is handed out again when the lease lapses without a decision. One that only has a
-- firing that still waits is looked at again later.
-- Keys: due, schedule, active, task. Arguments: now, lease_ms, limit.
-- Reply: {now, ms until one is due that is not handed out, or -1, for each schedule {tenant, id, revision, next due ms or
--   0, due ms of a firing that waits or 0, whether a task of an earlier firing has not ended, terms (JSON)}}.
-- Events: none.

local function lease_schedules(keys, args)
  begin(keys, args)
  local leased = {}
  for _, member in ipairs(redis.call('ZRANGE', K('due'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, args[3])) do
    local tenant, id = string.match(member, '^([^:]+):(.+)$')
    local schedule = tenant and Schedule.load(tenant, id)
    if not schedule or schedule.paused == 1 then
      redis.call('ZREM', K('due'), member)
    else
      local is_busy = Schedule.is_busy(schedule)
      if is_busy and (schedule.next == 0 or schedule.next > call.now) then
        Schedule.place(schedule, 0)
      else
        redis.call('ZADD', K('due'), call.now + tonumber(args[2]), member)
        leased[#leased + 1] = { tenant, id, schedule.revision, schedule.next, schedule.queued, is_busy and 1 or 0,
          redis.call('HGET', K('schedule', tenant, id), 'terms') or '' }
      end
    end
  end
  local first = redis.call('ZRANGE', K('due'), 0, 0, 'WITHSCORES')
  return { call.now, first[2] and math.max(0, tonumber(first[2]) - call.now) or -1, leased }
end

register('lease_schedules', lease_schedules, 'allow-oom')
