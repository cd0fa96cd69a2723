-- What a worker with free slots takes: first what it has read of its queues, then, by priority, what else lies there and
-- what waits in the rooms of its agents, until no slot is free.

-- Steps that a call looks at in vain before it leaves the rest to the next one.
local MOST_FRUITLESS = 400

-- Starts what it can of a batch: all of it if a slot is free, but for steps that need permits, which would hold them without
-- a slot. The rest goes back. Returns how many were started.
local function start(claim, members)
  local rest, started, takes = {}, 0, claim.free > 0
  for i = 1, #members do
    local member = members[i]
    local task, step, input, trace = Task.find(member.task, member.number, true)
    if step and step.state == READY and (task.state == 'running' or task.state == 'paused') then
      if step.broken then
        Step.reject(task, step)
      elseif takes and (started < claim.free or #Limit.of_step(task, step) == 0) and task.state == 'running'
        and not Pause.tenant(task.tenant) and not Pause.agent(step.spec.agent) then
        if not Limit.refuse(task, step) then
          Step.start(task, step, claim.worker, claim.seq)
          claim.steps[#claim.steps + 1] = { task = task, step = step, input = input, trace = trace }
          started = started + 1
        end
      else
        rest[#rest + 1] = member
      end
    end
  end
  if #rest > 0 then Queue.put_back(rest) end
  claim.free, claim.fruitless = claim.free - started, claim.fruitless + #members - started
  return started
end

local function may_look_on(claim)
  return claim.free > 0 and claim.fruitless < MOST_FRUITLESS
end

local function take_entry(claim, agent, priority, id, body)
  local members = Queue.take(agent, priority, id, body) or {}
  local started = start(claim, members)
  local task = members[1] and Task.load(members[1].task)
  if task then Turn.charge(K('ready', agent, priority), task.tenant, started - #members) end
end

local function take_queued(claim, agent, priority)
  while may_look_on(claim) do
    -- An agent that was never announced has no queue: nothing to claim, and nothing to fail for.
    local read = redis.pcall('XREADGROUP', 'GROUP', GROUP, claim.worker, 'COUNT', 1, 'STREAMS',
      K('queue', agent, priority), '>')
    if not read or read.err then
      redis.call('SREM', K('queued'), agent .. ':' .. priority)
      return
    end
    local entry = read[1][2][1]
    take_entry(claim, agent, priority, entry[1], entry[2][2])
  end
end

local function take_waiting(claim, agent, priority)
  local quota = Queue.quota(agent, priority, claim.worker)
  while quota > 0 and may_look_on(claim) do
    local members, tenant, reason = Queue.next(agent, priority, claim.free, quota)
    if not members then return end
    local started = start(claim, members)
    Turn.charge(K('ready', agent, priority), tenant, started)
    quota = quota - #members
    if started > 0 then claim.batches[#claim.batches + 1] = { agent, reason, started } end
  end
end

-- Which queues may hold entries that nobody has read, and whether anything waits in the rooms of these agents.
local function look_around(agents)
  local queued, rooms = {}, {}
  for _, name in ipairs(redis.call('SMEMBERS', K('queued'))) do queued[name] = true end
  for _, priority in ipairs(PRIORITIES) do
    for _, agent in ipairs(agents) do rooms[#rooms + 1] = K('ready', agent, priority) end
  end
  for first = 1, #rooms, CHUNK do
    if redis.call('EXISTS', unpack(rooms, first, math.min(first + CHUNK - 1, #rooms))) > 0 then return queued, true end
  end
  return queued, false
end

-- Adds what it claims to `steps`. Returns those, and the batches of the rooms as {agent, why it holds no more, steps}.
function Claim.make(worker, seq, free, entries, agents, steps)
  local claim = { worker = worker, seq = seq, free = free, steps = steps, batches = {}, fruitless = 0 }
  for _, entry in ipairs(entries) do take_entry(claim, entry[1], entry[2], entry[3], entry[4]) end
  local queued, is_waiting = {}, false
  if may_look_on(claim) then queued, is_waiting = look_around(agents) end
  if is_waiting or next(queued) then
    for _, priority in ipairs(PRIORITIES) do
      for offset = 0, #agents - 1 do
        if not may_look_on(claim) then break end
        local agent = agents[(seq + offset) % #agents + 1]
        if queued[agent .. ':' .. priority] then take_queued(claim, agent, priority) end
        if is_waiting then take_waiting(claim, agent, priority) end
      end
    end
  end
  Worker.mark(worker, claim.free <= 0)
  return claim.steps, claim.batches
end
