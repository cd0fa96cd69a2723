-- fire_schedule: (schedule) revision -> next revision; (task) nothing -> SCHEDULED | PLANNING | RUNNING
-- Applies one decision about what is due, once: missed firings are told, one firing is made, skipped, queued or told to be
-- refused, and the schedule moves on to its next due time; or nothing of that happens. With CANCEL the tasks of earlier
-- firings stop in the same call: SCHEDULED | PLANNING | RUNNING | PAUSED -> CANCELLING | CANCELLED.
-- Keys: schedule, firings, active, due; and what `submit` and `cancel` use.
-- Arguments: now, tenant, id, expected revision, ms for which the schedule is held if more is due, number of missed
--   firings and ms of the newest, due ms of the firing or 0, whether that one waited in the queue, next due ms or 0,
--   overlap policy, why it is refused (JSON, or empty), then what `submit` takes, of one task; nothing if nobody knows
--   yet whether it is to be submitted.
-- Reply: {'stale'} if the revision is another one, {'free'} if a submission is needed, {'busy'} if it waits on, {'full'} if
--   the store is: then nothing changed; else {what became of it: 'missed' | 'skipped' | 'queued' | 'failed' | 'submitted',
--   new revision, task id or '', whether a task of an earlier firing, or of this one, has not ended, now}.
-- Events: those of `submit` and `cancel`.

local FIRST = 13

local function verdict(schedule, args, due, was_queued, is_busy)
  if due == 0 then return 'missed' end
  if is_busy and was_queued then return 'busy' end
  if is_busy and args[11] == 'skip' then return 'skipped' end
  if is_busy and args[11] == 'queue' then return 'queued' end
  if args[12] ~= '' then return 'failed' end
  if not args[FIRST] then return 'free' end
  if redis.call('HGET', K('pulse'), 'full') == '1' then return 'full' end
  return 'submitted'
end

local function fire_schedule(keys, args)
  begin(keys, args)
  local schedule = Schedule.load(args[2], args[3])
  if not schedule or schedule.paused == 1 or schedule.revision ~= tonumber(args[4]) then return { 'stale' } end
  local due, was_queued = tonumber(args[8]), args[9] == '1'
  local is_busy = Schedule.is_busy(schedule)
  local outcome = verdict(schedule, args, due, was_queued, is_busy)
  if outcome == 'busy' then Schedule.place(schedule, tonumber(args[5])) end
  if outcome == 'busy' or outcome == 'free' or outcome == 'full' then return { outcome } end

  local missed, task = tonumber(args[6]), ''
  if missed > 0 then Schedule.record(schedule, 'missed', tonumber(args[7]), missed) end
  if outcome == 'submitted' then
    if is_busy and args[11] == 'cancel' and not was_queued then Schedule.cancel_tasks(schedule) end
    local _, id = Schedule.submit(schedule, due, args, FIRST)
    task = id or ''
  elseif outcome == 'failed' then
    Schedule.record(schedule, 'failed', due, 1, ',"failure":' .. args[12])
  elseif outcome == 'skipped' then
    Schedule.record(schedule, 'skipped', due, 1)
  elseif outcome == 'queued' then
    if schedule.queued > 0 then Schedule.record(schedule, 'skipped', schedule.queued, 1) end
    schedule.queued = due
  end
  if was_queued then schedule.queued = 0 end
  schedule.next = tonumber(args[10])
  Queue.settle_rooms()
  flush()
  Schedule.save(schedule, nil, tonumber(args[5]))
  return { outcome, schedule.revision, task, Schedule.is_busy(schedule) and 1 or 0, call.now }
end

register('fire_schedule', fire_schedule)
