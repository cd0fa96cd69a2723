-- tick: BACKOFF -> READY; READY -> FAILED (queue timeouts); WAITING -> SUCCEEDED | FAILED (nobody answered);
--   RUNNING -> READY | BACKOFF | FAILED | CANCELLED (dead workers, run deadlines);
--   PLANNING | RUNNING | PAUSED -> FAILED | CANCELLING (deadlines of tasks); SCHEDULED -> PLANNING | RUNNING
-- What time brings about in a partition: due timers, dead workers, steps past their deadline, entries that were
-- read and never claimed, rooms to refill and sweep, tasks that expire. Only this function judges who is dead; if
-- it has not run for half a heartbeat, or the server was restarted, everyone gets one more heartbeat first.
-- Where nothing is under way the next is due when something is known to be, and after `longest` at the latest: so an idle
-- store is left alone. Whoever has brought work in since wants it sooner, and says so.
-- Keys: all. Arguments: now, random, longest ms that the caller would sleep, 1 if it is wanted though it is not due yet.
-- Reply: {1, ms until due, retried, reclaimed, expired, 1 if a policy is written, 1 each if planning, decisions, revisions,
--   schedules wait that may be leased} | {0, ms until due} if another ran just before.
-- Events: step_ready, step_waiting, step_retried, step_finished, task_cancelling, task_finished, task_started,
--   task_planned.

local TASK_LATE = '{"reason":"DEADLINE_EXCEEDED","message":"the task did not end within its deadline_ms"}'
local LATE = '{"reason":"TIMEOUT","message":"the attempt ran past its run_timeout_ms"}'
local TIMERS_A_TICK, ENDED_A_TICK, SWEPT_A_TICK, BUSY_TICK_MS, LONGEST_TICK_MS = 500, 2000, 20000, 250, 10000
-- How much later than announced a tick may come after a sleep before it is taken for a pause of the store.
local LATE_MS, SHORT_GRACE_MS = 250, 500
-- What is due at a time, first what dispatchers lease. While one of the first three is there, something is under way.
local DATED, LEASED, UNDER_WAY = { 'planning', 'decisions', 'revising', 'due', 'timers', 'expiry' }, 4, 3

local function server()
  local info = redis.call('INFO', 'server', 'memory')
  local used = tonumber(string.match(info, '\nused_memory:(%d+)') or '0')
  local most = tonumber(string.match(info, '\nmaxmemory:(%d+)') or '0')
  return string.match(info, 'run_id:(%w+)'), most > 0 and used > 0.8 * most
end

-- Workers by the end of their lives, and those ends.
local function read_workers()
  local flat, names, ends = redis.call('ZRANGE', K('workers'), 0, -1, 'WITHSCORES'), {}, {}
  for i = 1, #flat, 2 do
    names[#names + 1] = flat[i]
    ends[flat[i]] = tonumber(flat[i + 1])
  end
  return names, ends
end

-- Milliseconds until it may run.
local function wait_ms(last, announced, is_wanted)
  if not last or call.now < last then return 0 end
  local wait = last + policy('tick_interval_ms') - call.now
  if announced and not is_wanted and announced - last <= LONGEST_TICK_MS then
    wait = math.max(wait, announced - call.now)
  end
  return wait
end

-- After a time in which nobody judged, because the store did not run, everyone gets one more heartbeat. After a sleep that
-- was announced, and in which nobody held anything, a moment is enough: for a heartbeat that may be on its way.
local function grant_grace(last, announced, is_restarted, workers, ends)
  local grace = policy('worker_ttl_ms')
  if last and not is_restarted then
    if call.now - last <= policy('worker_ttl_ms') / 2 then return end
    local was_asleep = announced and announced - last > BUSY_TICK_MS and announced - last <= LONGEST_TICK_MS
    if was_asleep and call.now - announced <= LATE_MS then grace = SHORT_GRACE_MS end
  end
  for _, worker in ipairs(workers) do
    if ends[worker] < call.now + grace then
      ends[worker] = call.now + grace
      redis.call('ZADD', K('workers'), 'GT', ends[worker], worker)
    end
  end
end

local function pass_deadline(task)
  if task.state == 'planning' then
    redis.call('ZREM', K('planning'), task.id)
    task.failure = TASK_LATE
    Task.finish(task, 'failed')
  elseif task.state == 'running' or task.state == 'paused' then
    Step.stop(task, 'failed', TASK_LATE)
  end
end

-- When the first of a kind is due, or nil.
local function first_due(kind)
  local first = redis.call('ZRANGE', K(kind), 0, 0, 'WITHSCORES')
  return tonumber(first[2] or '')
end

-- Returns how many steps begin their next attempt, and whether any timer was due.
local function fire_timers()
  local first, retried = first_due('timers'), 0
  if not first or first > call.now then return 0, false end
  local due = redis.call('ZRANGE', K('timers'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, TIMERS_A_TICK)
  for _, member in ipairs(due) do
    -- One deadline may end thousands of steps, and one start begin as many: what is left of the timers is due in the
    -- next tick.
    if (call.ended or 0) > ENDED_A_TICK then break end
    redis.call('ZREM', K('timers'), member)
    local id, number, attempt = string.match(member, '^([^:]+):(%d+):(%d+)$')
    local task = Task.load(id)
    local step = task and number ~= '0' and Step.load(task, tonumber(number))
    if task and number == '0' then
      if attempt == '1' then Task.start(task) else pass_deadline(task) end
    elseif step and step.attempt == tonumber(attempt) and Step.due(task, step) then
      retried = retried + 1
    end
  end
  return retried, true
end

-- Returns how many steps that took back, and who lives.
local function reclaim_dead(workers, ends)
  local count, alive = 0, {}
  for _, worker in ipairs(workers) do
    if ends[worker] < call.now then
      count = count + Worker.reclaim(worker)
      ends[worker] = nil
    else
      alive[#alive + 1] = worker
    end
  end
  return count, alive
end

-- Whether any of these keys exists.
local function any_exists(names)
  for first = 1, #names, CHUNK do
    if redis.call('EXISTS', unpack(names, first, math.min(first + CHUNK - 1, #names))) > 0 then return true end
  end
  return false
end

-- Whether workers hold anything, somebody stands in a line, or anything is to be leased.
local function is_stirring(workers)
  local names = { K('lines') }
  for i = 1, LEASED do names[#names + 1] = K(DATED[i]) end
  for _, worker in ipairs(workers) do names[#names + 1] = K('held', worker) end
  return any_exists(names)
end

local function any_held(workers)
  local names = {}
  for i, worker in ipairs(workers) do names[i] = K('held', worker) end
  return any_exists(names)
end

local function fence_late(random, workers)
  for _, worker in ipairs(workers) do
    local limit = integer(call.now - policy('run_grace_ms'))
    for _, member in ipairs(redis.call('ZRANGE', K('held', worker), '-inf', limit, 'BYSCORE')) do
      local task, step = Worker.holding(member)
      redis.call('PUBLISH', K('control', worker), member)
      if step then
        local spent = Usage.none()
        spent.run_ms = math.max(0, call.now - step.started)
        Step.fail(task, step, LATE, false, spent, random)
      else
        redis.call('ZREM', K('held', worker), member)
      end
    end
  end
end

-- Which of these members (task:number) still wait; the others' tasks have stopped.
local function still_waiting(members)
  local alive = {}
  for _, member in ipairs(members) do
    local id, number = string.match(member, '^(.+):(%d+)$')
    local state = id and Task.state_of(id)
    local run = (state == 'running' or state == 'paused') and redis.call('HGET', K('task', id), 'run:' .. number)
    if run then
      -- A claim gives up what cannot be read.
      if (Step.state_of(run) or READY) == READY then alive[#alive + 1] = member end
    end
  end
  return alive
end

-- Looks at a bounded number of a tenant's steps. Returns whether it dropped some and more follow.
local function sweep_tenant(agent, priority, tenant)
  local list = K('waiting', agent, priority, tenant)
  local length, dropped = redis.call('LLEN', list), 0
  local left = math.min(length, call.sweepable)
  local looked_at_all = left == length
  call.sweepable = call.sweepable - left
  while left > 0 do
    local members = redis.call('LPOP', list, math.min(left, CHUNK))
    if not members then break end
    local alive = still_waiting(members)
    if #alive > 0 then redis.call('RPUSH', list, unpack(alive)) end
    left, dropped = left - #members, dropped + #members - #alive
  end
  return dropped > 0 and not looked_at_all
end

-- Goes through the tenants of a room, as far as this tick's allowance reaches; the next tick goes on after the last one.
-- With `paused_alone` only the paused ones: the steps of the others are dropped by whoever claims them.
local function sweep_room(agent, priority, paused_alone)
  local name = agent .. ':' .. priority
  local tenants = redis.call('ZRANGE', K('ready', agent, priority), 0, -1)
  local after = redis.call('HGET', K('pulse'), 'swept:' .. name) or ''
  table.sort(tenants)
  for _, tenant in ipairs(tenants) do
    if tenant > after and (not paused_alone or Pause.tenant(tenant)) then
      local more = sweep_tenant(agent, priority, tenant)
      if call.sweepable <= 0 then
        if not more then redis.call('HSET', K('pulse'), 'swept:' .. name, tenant) end
        redis.call('SADD', K('sweep'), name)
        return
      end
    end
  end
  redis.call('HDEL', K('pulse'), 'swept:' .. name)
end

-- A queue that nobody reads would keep the steps of stopped tasks for ever; one that is read drops them as it goes.
local function sweep_queue(agent, priority)
  local is_served = redis.call('SCARD', K('serving', agent)) > 0 and not Pause.agent(agent)
  sweep_room(agent, priority, is_served)
  if is_served then return end
  local queue = K('queue', agent, priority)
  for _, entry in ipairs(redis.call('XRANGE', queue, '-', '+')) do
    local members = {}
    for member in string.gmatch(entry[2][2] or '', '%S+') do members[#members + 1] = member end
    local alive = still_waiting(members)
    if #alive < #members then
      redis.call('XACK', queue, GROUP, entry[1])
      redis.call('XDEL', queue, entry[1])
      if #alive > 0 then redis.call('XADD', queue, '*', 'steps', table.concat(alive, ' ')) end
    end
  end
  Queue.touch(agent, priority)
end

-- Those of these rooms, {agent, priority} each, whose queue has entries. One call looks at many: most have none.
local function with_entries(rooms)
  local found = {}
  for first = 1, #rooms, CHUNK do
    local command, by_queue = { 'XREAD', 'COUNT', 1, 'STREAMS' }, {}
    local last = math.min(first + CHUNK - 1, #rooms)
    for i = first, last do
      local queue = K('queue', rooms[i][1], rooms[i][2])
      by_queue[queue] = rooms[i]
      command[#command + 1] = queue
    end
    for _ = first, last do command[#command + 1] = '0' end
    for _, read in ipairs(redis.call(unpack(command)) or {}) do found[#found + 1] = by_queue[read[1]] end
  end
  return found
end

local function sweep_queues()
  for _, name in ipairs(redis.call('SMEMBERS', K('sweep'))) do
    redis.call('SREM', K('sweep'), name)
    local agent, priority = string.match(name, '^(.+):(%a+)$')
    if agent then sweep_queue(agent, priority) end
  end
end

-- Returns whether there is anything in a queue or a waiting room, or was.
local function keep_queues()
  local rooms, waiting = {}, { K('sweep') }
  Queue.each(function(agent, priority)
    rooms[#rooms + 1] = { agent, priority }
    waiting[#waiting + 1] = K('ready', agent, priority)
  end)
  local filled = with_entries(rooms)
  for _, room in ipairs(filled) do
    -- Workers of an earlier release lay entries down without telling.
    redis.call('SADD', K('queued'), room[1] .. ':' .. room[2])
    Queue.recover(room[1], room[2], nil, policy('claim_grace_ms'))
  end
  if not any_exists(waiting) then return #filled > 0 end
  for i, room in ipairs(rooms) do
    if redis.call('EXISTS', waiting[i + 1]) == 1 then
      Queue.prune(room[1], room[2])
      Queue.touch(room[1], room[2])
    end
  end
  sweep_queues()
  return true
end

-- Milliseconds until the next is due, and for each kind that is leased whether some may be leased now.
local function next_due(longest_ms, is_busy, stirs, ends)
  local due, waiting = call.now + longest_ms, {}
  for i, kind in ipairs(DATED) do
    local is_leased = i <= LEASED
    local at = (stirs or not is_leased) and first_due(kind)
    local may_be_leased = is_leased and at and at <= call.now
    if is_leased then waiting[i] = may_be_leased and 1 or 0 end
    -- Whoever may lease what waits does so at once, unless all have their hands full.
    is_busy = is_busy or (at and i <= UNDER_WAY) or may_be_leased
    if at and not may_be_leased then due = math.min(due, at) end
  end
  for _, at in pairs(ends) do
    if is_busy or at < call.now + policy('worker_ttl_ms') / 2 then due = math.min(due, at) end
  end
  if is_busy then due = math.min(due, call.now + BUSY_TICK_MS) end
  return math.max(due - call.now, policy('tick_interval_ms')), waiting
end

local function tick(keys, args)
  begin(keys, args)
  local random, longest_ms = tonumber(args[2]), tonumber(args[3])
  local pulse = redis.call('HMGET', K('pulse'), 'last', 'run_id', 'next')
  local last, announced = tonumber(pulse[1] or ''), tonumber(pulse[3] or '')
  local wait = wait_ms(last, announced, args[4] == '1')
  if wait > 0 then return { 0, wait } end
  local run_id, full = server()
  local workers, ends = read_workers()
  grant_grace(last, announced, run_id ~= pulse[2], workers, ends)
  redis.call('HSET', K('pulse'), 'last', integer(call.now), 'run_id', run_id, 'full', full and '1' or '0')
  local reclaimed, alive = reclaim_dead(workers, ends)
  local retried, has_fired = fire_timers()
  local stirs = is_stirring(alive)
  if stirs then fence_late(random, alive) end
  Line.settle(true)
  -- First seat and write what became ready: the sweep must find it if its task was stopped later in this very call.
  Queue.settle_rooms()
  flush()
  call.sweepable = SWEPT_A_TICK
  local is_busy = keep_queues() or #alive < #workers or has_fired
  Queue.settle_rooms()
  flush()
  local expired = Task.expire(100)
  is_busy = is_busy or (stirs and (any_held(alive) or redis.call('EXISTS', K('lines')) == 1))
  local due_ms, waiting = next_due(longest_ms, is_busy, stirs or is_busy, ends)
  redis.call('HSET', K('pulse'), 'next', integer(call.now + due_ms))
  return { 1, due_ms, retried, reclaimed, expired, next(call.policy) and 1 or 0, unpack(waiting) }
end

register('tick', tick, 'allow-oom')
