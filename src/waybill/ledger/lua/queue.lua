-- The waiting room and the queues. A step that is ready waits by agent, priority and tenant; `refill` moves
-- steps from there into the queue, in batches, tenants in turn, up to a bounded window of batches.

-- Notes that a step waits; written by `settle_rooms`. `first` puts it before the others of its tenant.
function Queue.wait(agent, priority, tenant, member, first)
  call.waiting[#call.waiting + 1] = { agent = agent, priority = priority, tenant = tenant, member = member,
    first = first }
end

-- The room of this agent and priority is to be refilled at the end of the call.
function Queue.touch(agent, priority)
  call.rooms[agent .. ':' .. priority] = { agent = agent, priority = priority }
end

local function enter(waiter)
  local room = K('ready', waiter.agent, waiter.priority)
  local list = K('waiting', waiter.agent, waiter.priority, waiter.tenant)
  redis.call(waiter.first and 'LPUSH' or 'RPUSH', list, waiter.member)
  if not redis.call('ZSCORE', room, waiter.tenant) then
    local head = redis.call('ZRANGE', room, 0, 0, 'WITHSCORES')
    redis.call('ZADD', room, head[2] or '0', waiter.tenant)
  end
  Queue.touch(waiter.agent, waiter.priority)
end

-- How many steps a batch may hold: as many as fit the target time by the agent's measured mean, 1 while none was
-- measured, and never more than the agent takes. Also returns the number of live workers.
local function batch_limit(agent)
  local workers = math.max(1, redis.call('SCARD', K('serving', agent)))
  local mean_us = tonumber(redis.call('HGET', K('pace'), agent) or '')
  if not mean_us then return 1, workers end
  local announced = redis.call('HGET', K('agents'), agent)
  local most = announced and tonumber(string.match(announced, '"max_batch":(%d+)')) or 1
  local fitting = math.floor(policy('batch_target_ms') * 1000 / math.max(mean_us, 1))
  return math.max(1, math.min(fitting, most)), workers
end

function Queue.open(agent, priority)
  local queue = K('queue', agent, priority)
  if redis.call('SADD', K('queues'), agent .. ':' .. priority) == 1 then
    redis.pcall('XGROUP', 'CREATE', queue, GROUP, '0', 'MKSTREAM')
  end
  return queue
end

local function refill(agent, priority)
  local room, queue = K('ready', agent, priority), Queue.open(agent, priority)
  local space = policy('queue_window') - redis.call('XLEN', queue)
  local limit, workers = batch_limit(agent)
  local turn = 0
  if Pause.agent(agent) then return end
  while space > 0 do
    local tenant = redis.call('ZRANGE', room, turn, turn)[1]
    while tenant and Pause.tenant(tenant) do
      turn = turn + 1
      tenant = redis.call('ZRANGE', room, turn, turn)[1]
    end
    if not tenant then return end
    local list = K('waiting', agent, priority, tenant)
    local waiting = redis.call('LLEN', list)
    local batch = waiting > 0 and redis.call('LPOP', list, math.min(limit, math.ceil(waiting / workers)))
    -- A tenant whose steps are all gone keeps its place until its turn comes, so that coming back wins it nothing.
    if batch then
      redis.call('XADD', queue, '*', 'steps', table.concat(batch, ' '))
      space = space - 1
      redis.call('ZINCRBY', room, #batch, tenant)
    else
      redis.call('ZREM', room, tenant)
    end
  end
end

-- Calls up who stands in lines, seats everyone who waits, and refills the queues that were touched.
function Queue.settle_rooms()
  Line.settle()
  local waiting = call.waiting
  call.waiting = {}
  for i = #waiting, 1, -1 do
    if waiting[i].first then enter(waiting[i]) end
  end
  for _, waiter in ipairs(waiting) do
    if not waiter.first then enter(waiter) end
  end
  local rooms = call.rooms
  call.rooms = {}
  for _, room in pairs(rooms) do refill(room.agent, room.priority) end
end

-- In a room, or a line: a tenant that comes back takes its turn with the others instead of making up for its absence.
function Queue.take_turn(room, tenant)
  local score = redis.call('ZSCORE', room, tenant)
  if not score then return end
  redis.call('ZREM', room, tenant)
  local head = redis.call('ZRANGE', room, 0, 0, 'WITHSCORES')
  redis.call('ZADD', room, head[2] or score, tenant)
end

-- The steps that the body of an entry names.
function Queue.members(body)
  local members = {}
  for task, number in string.gmatch(body or '', '([^: ]+):(%d+)') do
    members[#members + 1] = { task = task, number = tonumber(number) }
  end
  return members
end

-- Takes an entry out of its queue for good. Returns its steps, or nil if someone else has taken it.
function Queue.take(agent, priority, id, body)
  local queue = K('queue', agent, priority)
  if redis.call('XACK', queue, GROUP, id) == 0 then return nil end
  redis.call('XDEL', queue, id)
  Queue.touch(agent, priority)
  return Queue.members(body)
end

-- Back to the head of the waiting room, if it still waits; parked if its task is paused.
function Queue.put_back(members)
  for i = 1, #members do
    local task = Task.load(members[i].task)
    local step = task and Step.load(task, members[i].number)
    if step and step.broken and step.state == READY then
      Step.reject(task, step)
    elseif step and step.state == READY and task.state == 'running' then
      Queue.wait(Step.spec(step).agent, task.priority, task.tenant, task.id .. ':' .. step.number, true)
    elseif step and step.state == READY and task.state == 'paused' then
      step.parked, step.changed, task.changed = 1, true, true
    end
  end
end

-- Back to the waiting room with all that no worker has read yet: of all tenants, or of one.
function Queue.withdraw(agent, priority, tenant)
  local queue = K('queue', agent, priority)
  local group = redis.call('XINFO', 'GROUPS', queue)[1]
  local read_up_to = '0-0'
  for i = 1, #group, 2 do
    if group[i] == 'last-delivered-id' then read_up_to = group[i + 1] end
  end
  local entries = redis.call('XRANGE', queue, '(' .. read_up_to, '+')
  for i = 1, #entries do
    local members = Queue.members(entries[i][2][2])
    local task = members[1] and Task.load(members[1].task)
    if not tenant or (task and task.tenant == tenant) then
      redis.call('XDEL', queue, entries[i][1])
      Queue.put_back(members)
    end
  end
  Queue.touch(agent, priority)
end

-- Requeues what a consumer read but did not claim; with `idle_ms`, only what lies longer than that.
function Queue.recover(agent, priority, consumer, idle_ms)
  local queue, pending = K('queue', agent, priority), nil
  repeat
    pending = consumer and redis.call('XPENDING', queue, GROUP, '-', '+', CHUNK, consumer)
      or redis.call('XPENDING', queue, GROUP, 'IDLE', idle_ms, '-', '+', CHUNK)
    for _, row in ipairs(pending) do
      local entry = redis.call('XRANGE', queue, row[1], row[1])[1]
      local members = Queue.take(agent, priority, row[1], entry and entry[2][2] or '')
      if members then Queue.put_back(members) end
    end
  until #pending < CHUNK
  if consumer then redis.call('XGROUP', 'DELCONSUMER', queue, GROUP, consumer) end
end

-- Every queue there is, as agent and priority.
function Queue.each(visit)
  for _, name in ipairs(redis.call('SMEMBERS', K('queues'))) do
    local agent, priority = string.match(name, '^(.+):(%a+)$')
    if agent then visit(agent, priority) end
  end
end
