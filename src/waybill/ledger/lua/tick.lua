-- tick: BACKOFF -> READY; READY -> FAILED (queue timeouts); WAITING -> SUCCEEDED | FAILED (nobody answered);
--   RUNNING -> READY | BACKOFF | FAILED | CANCELLED (dead workers, run deadlines);
--   PLANNING | RUNNING | PAUSED -> FAILED | CANCELLING (deadlines of tasks); SCHEDULED -> PLANNING | RUNNING
-- What time brings about in a partition: due timers, dead workers, steps past their deadline, entries that were
-- read and never claimed, rooms to refill and sweep, tasks that expire. Only this function judges who is dead; if
-- it has not run for half a heartbeat, or the server was restarted, everyone gets one more heartbeat first.
-- Keys: all. Arguments: now, random.
-- Reply: {1, ms until due, retried, reclaimed, expired} | {0, ms until due} if another ran just before.
-- Events: step_ready, step_waiting, step_retried, step_finished, task_cancelling, task_finished, task_started,
--   task_planned.

local TASK_LATE = '{"reason":"DEADLINE_EXCEEDED","message":"the task did not end within its deadline_ms"}'
local LATE = '{"reason":"TIMEOUT","message":"the attempt ran past its run_timeout_ms"}'
local TIMERS_A_TICK, ENDED_A_TICK, SWEPT_A_TICK, IDLE_TICK_MS = 500, 2000, 20000, 250

local function server()
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local memory = redis.call('INFO', 'memory')
  local used = tonumber(string.match(memory, '\nused_memory:(%d+)') or '0')
  local most = tonumber(string.match(memory, '\nmaxmemory:(%d+)') or '0')
  return run_id, most > 0 and used > 0.8 * most
end

local function grant_grace(last, run_id, known_run_id)
  if last and call.now - last <= policy('worker_ttl_ms') / 2 and run_id == known_run_id then return end
  for _, worker in ipairs(redis.call('ZRANGE', K('workers'), 0, -1)) do
    redis.call('ZADD', K('workers'), 'GT', call.now + policy('worker_ttl_ms'), worker)
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

-- Returns how many steps begin their next attempt.
local function fire_timers()
  local due, retried = redis.call('ZRANGE', K('timers'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, TIMERS_A_TICK), 0
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
  return retried
end

local function reclaim_dead()
  local count = 0
  for _, worker in ipairs(redis.call('ZRANGE', K('workers'), '-inf', '(' .. integer(call.now), 'BYSCORE')) do
    count = count + Worker.reclaim(worker)
  end
  return count
end

local function fence_late(random)
  for _, worker in ipairs(redis.call('ZRANGE', K('workers'), 0, -1)) do
    local limit = integer(call.now - policy('run_grace_ms'))
    for _, member in ipairs(redis.call('ZRANGE', K('held', worker), '-inf', limit, 'BYSCORE')) do
      local task, step = Worker.holding(member)
      redis.call('PUBLISH', K('control', worker), member)
      if step then
        local spent = Usage.none()
        spent.run_ms = call.now - step.started
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
    local v = id and redis.call('HMGET', K('task', id), 'state', 'run:' .. number)
    if v and v[2] and (v[1] == 'running' or v[1] == 'paused') then
      local readable, record = pcall(cmsgpack.unpack, v[2])
      -- A claim gives up what cannot be read.
      if not readable or type(record) ~= 'table' or record[1] == READY then alive[#alive + 1] = member end
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

local function keep_queues()
  Queue.each(function(agent, priority)
    Queue.recover(agent, priority, nil, policy('claim_grace_ms'))
    if redis.call('EXISTS', K('ready', agent, priority)) == 1 then
      Queue.prune(agent, priority)
      Queue.touch(agent, priority)
    end
  end)
  for _, name in ipairs(redis.call('SMEMBERS', K('sweep'))) do
    redis.call('SREM', K('sweep'), name)
    local agent, priority = string.match(name, '^(.+):(%a+)$')
    if agent then sweep_queue(agent, priority) end
  end
end

local function next_due()
  local due = call.now + IDLE_TICK_MS
  for _, kind in ipairs({ 'timers', 'workers', 'expiry' }) do
    local first = redis.call('ZRANGE', K(kind), 0, 0, 'WITHSCORES')
    if first[2] then due = math.min(due, tonumber(first[2])) end
  end
  return math.max(due - call.now, policy('tick_interval_ms'))
end

local function tick(keys, args)
  begin(keys, args)
  local random = tonumber(args[2])
  local pulse = redis.call('HMGET', K('pulse'), 'last', 'run_id')
  local last = tonumber(pulse[1] or '')
  if last and call.now >= last and call.now - last < policy('tick_interval_ms') then
    return { 0, policy('tick_interval_ms') }
  end
  local run_id, full = server()
  grant_grace(last, run_id, pulse[2])
  redis.call('HSET', K('pulse'), 'last', integer(call.now), 'run_id', run_id, 'full', full and '1' or '0')
  local reclaimed = reclaim_dead()
  local retried = fire_timers()
  fence_late(random)
  Line.settle(true)
  -- First seat and write what became ready: the sweep must find it if its task was stopped later in this very call.
  Queue.settle_rooms()
  flush()
  call.sweepable = SWEPT_A_TICK
  keep_queues()
  Queue.settle_rooms()
  flush()
  local expired = Task.expire(100)
  return { 1, next_due(), retried, reclaimed, expired }
end

register('tick', tick, 'allow-oom')
