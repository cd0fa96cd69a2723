-- The waiting room and the queues. A step that is ready waits by agent, priority and tenant. A busy worker takes its
-- batches from there, tenants in turn; `refill` moves single steps from there into the queue, to wake up idle workers.

-- Tenants that are looked at to tell how much waits.
local SHARED_BY = 15

-- Notes that a step waits; written by `settle_rooms`. `first` puts it before the others of its tenant.
function Queue.wait(agent, priority, tenant, member, first)
  call.waiting[#call.waiting + 1] = { agent = agent, priority = priority, tenant = tenant, member = member,
    first = first }
end

-- The room of this agent and priority is to be refilled at the end of the call.
function Queue.touch(agent, priority)
  call.rooms[agent .. ':' .. priority] = { agent = agent, priority = priority }
end

-- Seats steps of one tenant, before or behind those that wait already.
local function enter(agent, priority, tenant, members, first)
  in_chunks(first and 'LPUSH' or 'RPUSH', K('waiting', agent, priority, tenant), members)
  if Turn.enter(K('ready', agent, priority), tenant) then Queue.open(agent, priority) end
  Queue.touch(agent, priority)
end

-- Seats all of those who wait that are to be first, or all others, in their order.
local function enter_all(waiting, first)
  local groups, order = {}, {}
  for i = first and #waiting or 1, first and 1 or #waiting, first and -1 or 1 do
    local waiter = waiting[i]
    if (waiter.first or false) == first then
      local name = waiter.agent .. ':' .. waiter.priority .. ':' .. waiter.tenant
      local members = groups[name]
      if not members then
        members = {}
        groups[name], order[#order + 1] = members, waiter
      end
      members[#members + 1] = waiter.member
    end
  end
  for _, one in ipairs(order) do
    local name = one.agent .. ':' .. one.priority .. ':' .. one.tenant
    enter(one.agent, one.priority, one.tenant, groups[name], first)
  end
end

function Queue.open(agent, priority)
  local queue = K('queue', agent, priority)
  if redis.call('SADD', K('queues'), agent .. ':' .. priority) == 1 then
    redis.pcall('XGROUP', 'CREATE', queue, GROUP, '0', 'MKSTREAM')
  end
  return queue
end

-- The tenant whose turn it is and how many of its steps wait; nil if nobody's may run.
local function next_tenant(agent, priority)
  local room, turn = K('ready', agent, priority), 0
  while true do
    local tenant = redis.call('ZRANGE', room, turn, turn)[1]
    if not tenant then return nil end
    if Pause.tenant(tenant) then
      turn = turn + 1
    else
      local waiting = redis.call('LLEN', K('waiting', agent, priority, tenant))
      if waiting > 0 then return tenant, waiting end
      -- A tenant whose steps are all gone keeps its place until its turn comes, so that coming back wins it nothing.
      redis.call('ZREM', room, tenant)
    end
  end
end

-- How many steps of a room this worker may take, so that others that are idle get theirs: an even share, or any number.
-- 0 if nothing waits.
function Queue.quota(agent, priority, worker)
  local room = K('ready', agent, priority)
  local tenants = redis.call('ZCARD', room)
  if tenants == 0 or Pause.agent(agent) then return 0 end
  local others = Worker.idle(agent, worker)
  if others == 0 then return math.huge end
  local waiting = 0
  for _, tenant in ipairs(redis.call('ZRANGE', room, 0, SHARED_BY)) do
    waiting = waiting + redis.call('LLEN', K('waiting', agent, priority, tenant))
  end
  return math.ceil(waiting / (others + 1))
end

-- How many of those that wait a worker takes at once, and why not more. What its free slots hold it may take at any rate:
-- they start at once, and batches of a fixed size are what is to be kept whole.
local function size_of(agent, priority, waiting, free, quota)
  local size, reason = Batch.limit(agent, free)
  if free > size and (reason ~= 'fixed' or size == 1) and redis.call('ZCARD', K('ready', agent, priority)) == 1 then
    size, reason = free, 'slots'
  end
  if quota < size then size, reason = quota, 'share' end
  if waiting < size then size, reason = waiting, 'waiting' end
  return size, reason
end

-- Takes a batch out of a room, for a worker with so many free slots. Returns its steps, whose they are, and why it holds no
-- more; nil if nothing waits that may run.
function Queue.next(agent, priority, free, quota)
  local tenant, waiting = next_tenant(agent, priority)
  if not tenant then return nil end
  local size, reason = size_of(agent, priority, waiting, free, quota)
  local batch = redis.call('LPOP', K('waiting', agent, priority, tenant), size)
  return Queue.members(table.concat(batch, ' ')), tenant, reason
end

-- One step for each worker that is idle, to wake it up: it takes more by itself. Nothing lies in the queue where all are
-- busy, so that a tenant that comes new waits behind nobody's backlog.
local function refill(agent, priority)
  if Pause.agent(agent) then return end
  local idle = math.min(Worker.idle(agent), policy('queue_window'))
  if idle == 0 then return end
  local queue, room = K('queue', agent, priority), K('ready', agent, priority)
  if redis.call('EXISTS', room) == 0 then return end
  local space = idle - redis.call('XLEN', queue)
  if space > 0 then redis.call('SADD', K('queued'), agent .. ':' .. priority) end
  while space > 0 do
    local tenant = next_tenant(agent, priority)
    if not tenant then return end
    redis.call('XADD', queue, '*', 'steps', redis.call('LPOP', K('waiting', agent, priority, tenant)))
    Turn.charge(room, tenant, 1)
    space = space - 1
  end
end

-- Tenants whose steps are all gone leave the room once their turn has come.
function Queue.prune(agent, priority)
  next_tenant(agent, priority)
end

-- Calls up who stands in lines, and seats everyone who waits.
function Queue.seat()
  Line.settle()
  local waiting = call.waiting
  call.waiting = {}
  if #waiting == 0 then return end
  enter_all(waiting, true)
  enter_all(waiting, false)
end

-- Seats everyone who waits, and refills the queues that were touched.
function Queue.settle_rooms()
  Queue.seat()
  local rooms = call.rooms
  call.rooms = {}
  for _, room in pairs(rooms) do refill(room.agent, room.priority) end
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
