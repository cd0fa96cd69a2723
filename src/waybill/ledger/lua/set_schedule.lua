-- set_schedule: (schedule) none -> set; set -> set, with all that a caller sets replaced, except whether it is paused
-- Keys: schedule, schedules, firings, active, due, pulse, call; channel bell. Its tasks, and a firing that waits for one of
-- them, stay.
-- Arguments: now, tenant, id, id of the request (may be empty), fingerprint of what is asked, whether it must exist (then
--   with the expected revision), expected revision, whether it is paused (if it is new), created ms (if it is new), next
--   due ms or 0, number of firings that are overdue and ms of the newest, most schedules of a tenant, terms (JSON), what
--   it submits.
-- Reply: 'ok' | 'known' (done before under this request) | 'reused' | 'exists' | 'missing' | 'stale' (another revision)
--   | 'many' | 'full'.
-- Events: none.

local function set_schedule(keys, args)
  begin(keys, args)
  local tenant, id, request, must_exist = args[2], args[3], args[4], args[6] == '1'
  local what = (must_exist and 'update schedule ' or 'create schedule ') .. id .. ' ' .. args[5]
  local seen = Request.seen(tenant, request, what)
  -- A caller who waits for replicas needs a write of this very call to wait for.
  if seen == 'known' then Request.keep(tenant, request, what) end
  if seen then return seen end
  local schedule = Schedule.load(tenant, id)
  if must_exist and not schedule then return 'missing' end
  if schedule and not must_exist then return 'exists' end
  if redis.call('HGET', K('pulse'), 'full') == '1' then return 'full' end
  local fields = { 'terms', args[14], 'spec', args[15] }
  if schedule then
    if schedule.revision ~= tonumber(args[7]) then return 'stale' end
    Schedule.record_overdue(schedule, tonumber(args[11]), tonumber(args[12]))
  else
    if redis.call('ZCARD', K('schedules', tenant)) >= tonumber(args[13]) then return 'many' end
    redis.call('ZADD', K('schedules', tenant), 0, id)
    schedule = { tenant = tenant, id = id, revision = 0, queued = 0, paused = tonumber(args[8]) }
    for _, value in ipairs({ 'created', args[9], 'submitted', '0' }) do fields[#fields + 1] = value end
  end
  schedule.next = schedule.paused == 0 and tonumber(args[10]) or 0
  Schedule.save(schedule, fields)
  Request.keep(tenant, request, what)
  return 'ok'
end

register('set_schedule', set_schedule)
