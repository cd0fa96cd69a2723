-- Schedules: what is kept of each, which of them are to be looked at when, and what became of their firings.
-- Dispatchers decide; each decision names the revision that it was made for, and every change makes another one.

local KEPT_FIRINGS = 20
-- How long a firing waits at most for a task whose end nobody told: an older release may have ended it.
local UNTOLD_MS = 60000
local LOOKED_AT = 100

local function member(schedule)
  return schedule.tenant .. ':' .. schedule.id
end

-- The schedule without what it submits, or nil if there is none (any more).
function Schedule.load(tenant, id)
  local v = redis.call('HMGET', K('schedule', tenant, id), 'revision', 'next', 'queued', 'paused')
  if not v[1] then return nil end
  for i = 1, 4 do v[i] = tonumber(v[i] or '') or 0 end
  return { tenant = tenant, id = id, revision = v[1], next = v[2], queued = v[3], paused = v[4] }
end

-- Whether a task of an earlier firing has not ended. One that is gone has.
function Schedule.is_busy(schedule)
  local active = K('active', schedule.tenant, schedule.id)
  for _ = 1, LOOKED_AT do
    local id = redis.call('SRANDMEMBER', active)
    if not id then return false end
    local state = Task.state_of(id)
    if state and state ~= 'succeeded' and state ~= 'failed' and state ~= 'cancelled' then return true end
    redis.call('SREM', active, id)
  end
  return true
end

-- Has the schedule looked at when it is next due, or now if a firing waits for nothing any more; with `hold_ms`, for
-- whoever decides about it, only then if it is due already.
function Schedule.place(schedule, hold_ms)
  local due = schedule.paused == 0 and schedule.next > 0 and schedule.next or nil
  if schedule.paused == 0 and schedule.queued > 0 then
    due = Schedule.is_busy(schedule) and math.min(due or math.huge, call.now + UNTOLD_MS) or call.now
  end
  if not due then
    redis.call('ZREM', K('due'), member(schedule))
    return
  end
  if hold_ms and due <= call.now then due = call.now + hold_ms end
  redis.call('ZADD', K('due'), due, member(schedule))
  if not hold_ms then redis.call('PUBLISH', K('bell', 'schedules'), schedule.id) end
end

-- Writes the schedule as its next revision, with other fields if they are given. Who changes it by a decision about what
-- is due holds it for `hold_ms`; any other change counts as its update. No two schedules, and none that was deleted and
-- made anew, ever have the same revision.
function Schedule.save(schedule, fields, hold_ms)
  schedule.revision = redis.call('HINCRBY', K('pulse'), 'revision', 1)
  local values = { 'revision', integer(schedule.revision), 'next', integer(schedule.next), 'queued',
    integer(schedule.queued), 'paused', integer(schedule.paused), unpack(fields or {}) }
  if not hold_ms then
    values[#values + 1] = 'updated'
    values[#values + 1] = integer(call.now)
  end
  redis.call('HSET', K('schedule', schedule.tenant, schedule.id), unpack(values))
  Schedule.place(schedule, hold_ms)
end

-- Remembers what became of `count` firings, the newest of which was due at `due`; missed and skipped ones in a row are
-- told as one. `fields` is the rest of the JSON object, beginning with a comma, or ''.
function Schedule.record(schedule, outcome, due, count, fields)
  local firings = K('firings', schedule.tenant, schedule.id)
  if outcome == 'missed' or outcome == 'skipped' then
    local newest = redis.call('LINDEX', firings, 0)
    local before = newest and string.match(newest, '"outcome":"' .. outcome .. '","count":(%d+)')
    if before then
      count = count + tonumber(before)
      redis.call('LPOP', firings)
    end
  end
  redis.call('LPUSH', firings, string.format('{"due_ms":%d,"decided_ms":%d,"outcome":"%s","count":%d%s}', due, call.now,
    outcome, count, fields or ''))
  redis.call('LTRIM', firings, 0, KEPT_FIRINGS - 1)
end

-- Remembers firings that were due when the schedule was changed, and are not made for that.
function Schedule.record_overdue(schedule, count, due)
  if count > 0 then Schedule.record(schedule, 'missed', due, count) end
end

-- Submits a task of the schedule; its plans, and the task, begin at `first` as `submit` has them. Returns what became of it,
-- as `Task.accept` tells it, and its id.
function Schedule.submit(schedule, due, args, first, is_triggered)
  local plans, at = Task.read_plans(args, first)
  local _, outcome, id = Task.accept(args, at + 1, plans)
  if outcome ~= 'created' then return outcome, id end
  Task.load(id).schedule = schedule.id
  redis.call('SADD', K('active', schedule.tenant, schedule.id), id)
  redis.call('HINCRBY', K('schedule', schedule.tenant, schedule.id), 'submitted', 1)
  Schedule.record(schedule, 'submitted', due, 1, ',"task":"' .. id .. '"' .. (is_triggered and ',"triggered":true' or ''))
  return outcome, id
end

-- Cancels the tasks of earlier firings.
function Schedule.cancel_tasks(schedule)
  local active = redis.call('SRANDMEMBER', K('active', schedule.tenant, schedule.id), LOOKED_AT)
  for _, id in ipairs(active) do
    local task = Task.load(id)
    if task then Task.cancel(task) end
  end
end

-- A task has ended: the firing that waits for it is made now.
function Schedule.task_ended(task)
  redis.call('SREM', K('active', task.tenant, task.schedule), task.id)
  local schedule = Schedule.load(task.tenant, task.schedule)
  if schedule and schedule.queued > 0 then Schedule.place(schedule) end
end

-- A task runs again, for a schedule that may have been deleted, and made anew, since it was fired.
function Schedule.task_again(task)
  local created = tonumber(redis.call('HGET', K('schedule', task.tenant, task.schedule), 'created') or '')
  if created and created <= task.created then
    redis.call('SADD', K('active', task.tenant, task.schedule), task.id)
  end
end
