-- The lines before limits. Tenants take turns, priorities first. Of one tenant the calls of running attempts go before steps
-- that have not started, as an attempt's time runs, and steps in the order in which they became ready: so a step that has
-- to go from one line to another loses nothing.
--
-- A waiter is task:number for a step, task:number:attempt:call:tokens for a call. Who is called up gets its permits as short
-- leases: a step goes to the head of its agent's room, a call asks again.
--
-- A step under several limits takes them in the order of their names. It stands in one line at a time, and keeps what it
-- got on the way only while nobody of its tenant is before it in the next line: so few permits lie idle, no two steps wait
-- for each other, and it gets through though all its limits are busy.

local CALLED_UP_A_CALL = 500
local CALLS_FIRST_MS = 10000000000000

function Line.stands(name)
  if not call.standing then
    call.standing = {}
    for _, standing in ipairs(redis.call('SMEMBERS', K('lines'))) do call.standing[standing] = true end
  end
  return call.standing[name]
end

-- Stands in line, once.
function Line.join(name, task, waiter, since)
  local line, room = K('line', name, task.priority), K('lined', name, task.priority, task.tenant)
  redis.call('ZADD', room, 'NX', integer(since), waiter)
  Turn.enter(line, task.tenant)
  if not Line.stands(name) then redis.call('SADD', K('lines'), name) end
  call.standing[name] = true
end

local function call_waiter(holder, tokens)
  return holder .. ':' .. integer(tokens)
end

function Line.join_call(name, task, holder, tokens)
  Line.join(name, task, call_waiter(holder, tokens), call.now - CALLS_FIRST_MS)
end

function Line.quit_call(name, task, holder, tokens)
  redis.call('ZREM', K('lined', name, task.priority, task.tenant), call_waiter(holder, tokens))
end

-- A READY step waits no longer: it leaves whatever line it stands in, and what it was called up for.
function Line.quit(task, step)
  for _, name in ipairs(Limit.of_step(task, step)) do
    if Line.stands(name) then
      redis.call('ZREM', K('lined', name, task.priority, task.tenant), task.id .. ':' .. step.number)
    end
  end
  Limit.forgo(task, step)
end

local function call_up_call(name, id, number, attempt, call_name, tokens)
  local holder = id .. ':' .. number .. ':' .. attempt
  local task, waits = Task.load(id), nil
  if number == '0' then
    waits = task and Task.is_planned(task, tonumber(attempt))
  else
    waits = Worker.holding(holder) and task.state ~= 'cancelling'
  end
  if not waits or not Limit.exists(name) or Money.knows(task, number, attempt, call_name) then return false end
  Limit.take(name, holder .. ':' .. call_name, policy('permit_ms'), tonumber(tokens))
  return true
end

local function would_lead(name, task, waiter, since)
  local first = redis.call('ZRANGE', K('lined', name, task.priority, task.tenant), 0, 0, 'WITHSCORES')
  local first_since = tonumber(first[2] or '')
  return not first_since or since < first_since or (since == first_since and waiter < first[1])
end

-- From the line that it leads to that of a limit which has no room.
local function move_on(task, step, names, led, refused, waiter)
  if led < refused and would_lead(refused, task, waiter, step.ready) then
    Limit.keep_with(task, step, names, led)
  else
    Limit.forgo(task, step)
  end
  Line.join(refused, task, waiter, step.ready)
end

local function may_run(agent)
  return not Pause.agent(agent) and redis.call('SCARD', K('serving', agent)) > 0
end

local function call_up_step(name, waiter, id, number)
  local task = id and Task.load(id)
  local step = task and Step.load(task, tonumber(number))
  if not step or step.state ~= READY then return false end
  if step.broken or task.state ~= 'running' then
    Queue.put_back({ { task = id, number = step.number } })
    return false
  end
  local agent, names = Step.spec(step).agent, Limit.of_step(task, step)
  local is_called = may_run(agent)
  local refused = is_called and Limit.refusing(task, step, names, true)
  if refused then
    move_on(task, step, names, name, refused, waiter)
    return false
  end
  -- Where nobody can run it, it waits in its room without permits, so that it keeps none from others.
  if is_called then Limit.take_all(task, step, names, policy('permit_ms')) end
  Queue.wait(agent, task.priority, task.tenant, waiter, true)
  return is_called
end

-- Whether one that stands in line, and in any case leaves it, was given what it waits for.
local function call_up(name, waiter)
  local id, number, attempt, call_name, tokens = string.match(waiter, '^([^:]+):(%d+):(%d+):(%d+):(%d+)$')
  if id then return call_up_call(name, id, number, attempt, call_name, tokens) end
  return call_up_step(name, waiter, string.match(waiter, '^([^:]+):(%d+)$'))
end

-- Returns false once the limit has no more room.
local function refill_line(name, priority)
  local line, turn = K('line', name, priority), 0
  while call.may_call_up > 0 do
    local tenant = redis.call('ZRANGE', line, turn, turn)[1]
    if not tenant then return true end
    local room = K('lined', name, priority, tenant)
    local waiter = redis.call('ZRANGE', room, 0, 0)[1]
    if not waiter then
      redis.call('ZREM', line, tenant)
    elseif Pause.tenant(tenant) then
      turn = turn + 1
    elseif Limit.exists(name) and Limit.shortage(name) then
      return false
    else
      call.may_call_up = call.may_call_up - 1
      redis.call('ZREM', room, waiter)
      if call_up(name, waiter) then Turn.charge(line, tenant, 1) end
    end
  end
  return false
end

local function refill_limit(name)
  for _, priority in ipairs(PRIORITIES) do
    if not refill_line(name, priority) then return end
  end
  for _, priority in ipairs(PRIORITIES) do
    if redis.call('EXISTS', K('line', name, priority)) == 1 then return end
  end
  redis.call('SREM', K('lines'), name)
  call.standing[name] = nil
end

-- What orders the lines among each other: the priority of who is next, then how long it waits.
local function rank(name)
  for place, priority in ipairs(PRIORITIES) do
    local tenant = redis.call('ZRANGE', K('line', name, priority), 0, 0)[1]
    if tenant then
      local head = redis.call('ZRANGE', K('lined', name, priority, tenant), 0, 0, 'WITHSCORES')
      return place * 4 * CALLS_FIRST_MS + (tonumber(head[2] or '') or 0)
    end
  end
  return 0
end

-- Calls up who stands in the lines of limits that had permits given back; with `all`, in every line. A bounded number a
-- call: the tick calls up the rest. A line that has waited longer comes first, or one whose steps need permits of both
-- limits could keep the other's from everybody.
function Line.settle(all)
  if not next(call.lines) and not all then return end
  Limit.any()
  -- Looking at a limit drops the permits that have lapsed.
  if all then for name in pairs(call.limit_names) do Limit.load(name) end end
  Line.stands('')
  local found, ranks = {}, {}
  for name in pairs(all and call.standing or call.lines) do
    if call.standing[name] then found[#found + 1] = name end
  end
  call.lines, call.may_call_up = {}, call.may_call_up or CALLED_UP_A_CALL
  if #found > 1 then
    for _, name in ipairs(found) do ranks[name] = rank(name) end
    table.sort(found, function(a, b)
      if ranks[a] ~= ranks[b] then return ranks[a] < ranks[b] end
      return a < b
    end)
  end
  for _, name in ipairs(found) do refill_limit(name) end
end

-- A tenant that was paused takes its turn with the others instead of making up for its pause.
function Line.take_turn(tenant)
  Line.stands('')
  for name in pairs(call.standing) do
    for _, priority in ipairs(PRIORITIES) do
      Turn.take(K('line', name, priority), tenant)
    end
    call.lines[name] = true
  end
end
