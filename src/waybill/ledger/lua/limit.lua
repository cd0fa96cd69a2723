-- Limits, and the permits that are taken of them: how many attempts (or model calls) run at once and start in a minute,
-- over all workers. Who gets no permit stands in the limit's line, fair between tenants, and holds nothing meanwhile.
--
-- A permit is a lease under its holder's name: task:number:attempt, or task:number:attempt:call. It is given back when its
-- holder ends, and lapses if nobody does. Rates are token buckets of a tenth of a minute's worth, so that a minute sees
-- at most a tenth more than its rate (token bucket: RFC 2697); a bucket may be overdrawn by its last taker.

local REFILLED_A_CALL = 500
local CALL_PERMIT_MS = 600000
local ASK_AGAIN_MS = 200
local LIMIT_FIELDS = { 'max_concurrency', 'requests_per_minute', 'tokens_per_minute', 'told_concurrency',
  'told_requests', 'told_tokens', 'learned_concurrency', 'learned_requests', 'learned_tokens', 'blocked', 'requests',
  'tokens', 'at' }
local MOST_LEARNED = 1000

local function least(...)
  local found = 0
  for _, number in ipairs({ ... }) do
    if number > 0 and (found == 0 or number < found) then found = number end
  end
  return found
end

local function level(stored, rate, elapsed)
  local capacity = math.max(1, rate / 10)
  return math.min(capacity, (stored or capacity) + elapsed * rate / 60000)
end

-- Whether there is any limit at all: nothing else is asked where there is none.
function Limit.any()
  if not call.limit_names then
    call.limit_names, call.limit = {}, {}
    for _, name in ipairs(redis.call('SMEMBERS', K('limits'))) do
      call.limit_names[name] = true
      call.some_limit = true
    end
  end
  return call.some_limit
end

local function load_limit(name)
  if call.limit[name] then return call.limit[name] end
  local v = redis.call('HMGET', K('limit', name), unpack(LIMIT_FIELDS))
  local limit = { name = name }
  for i, field in ipairs(LIMIT_FIELDS) do limit[field] = tonumber(v[i] or '') end
  for i = 1, 10 do limit[LIMIT_FIELDS[i]] = limit[LIMIT_FIELDS[i]] or 0 end
  limit.most = least(limit.max_concurrency, limit.told_concurrency, math.floor(limit.learned_concurrency))
  limit.request_rate = least(limit.requests_per_minute, limit.told_requests, limit.learned_requests)
  limit.token_rate = least(limit.tokens_per_minute, limit.told_tokens, limit.learned_tokens)
  local elapsed = math.max(0, call.now - (limit.at or call.now))
  limit.requests = level(limit.requests, limit.request_rate, elapsed)
  limit.tokens = level(limit.tokens, limit.token_rate, elapsed)
  redis.call('ZREMRANGEBYSCORE', K('permits', name), '-inf', call.now)
  limit.held = redis.call('ZCARD', K('permits', name))
  call.limit[name] = limit
  return limit
end

local function store_level(limit)
  limit.at = call.now
  redis.call('HSET', K('limit', limit.name), 'requests', string.format('%.6f', limit.requests),
    'tokens', string.format('%.6f', limit.tokens), 'at', integer(call.now))
end

-- How long the limit has no room for another holder, in milliseconds; nil if it has.
local function shortage(limit)
  if limit.blocked > call.now then return limit.blocked - call.now end
  if limit.most > 0 and limit.held >= limit.most then return ASK_AGAIN_MS end
  if limit.request_rate > 0 and limit.requests < 1 then
    return math.ceil((1 - limit.requests) * 60000 / limit.request_rate)
  end
  if limit.token_rate > 0 and limit.tokens <= 0 then
    return math.ceil((1 - limit.tokens) * 60000 / limit.token_rate)
  end
end

local function holds(name, holder)
  return redis.call('ZSCORE', K('permits', name), holder) ~= false
end

-- Gives the holder a permit for so long, or a longer one if it has one. The set goes with the last permit that lapses.
local function lease(name, holder, ttl_ms)
  local permits = K('permits', name)
  local is_new = redis.call('ZADD', permits, 'GT', call.now + ttl_ms, holder) == 1
  redis.call('PEXPIRE', permits, integer(ttl_ms), 'NX')
  redis.call('PEXPIRE', permits, integer(ttl_ms), 'GT')
  return is_new
end

local function take(limit, holder, ttl_ms)
  if not lease(limit.name, holder, ttl_ms) then return end
  limit.held, limit.requests = limit.held + 1, limit.requests - 1
  store_level(limit)
end

local function give_back(name, holder)
  if redis.call('ZREM', K('permits', name), holder) == 0 then return end
  if call.limit[name] then call.limit[name].held = call.limit[name].held - 1 end
  call.lines[name] = true
end

local function has_line(name)
  if not call.standing then
    call.standing = {}
    for _, standing in ipairs(redis.call('SMEMBERS', K('lines'))) do call.standing[standing] = true end
  end
  return call.standing[name]
end

-- Stands in line, once; `waiter` is task:number for a step, task:number:attempt:call for a call.
local function join(name, priority, tenant, waiter)
  local line, room = K('line', name, priority), K('lined', name, priority, tenant)
  redis.call('ZADD', room, 'NX', call.now, waiter)
  if not redis.call('ZSCORE', line, tenant) then
    local head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    redis.call('ZADD', line, head[2] or '0', tenant)
  end
  redis.call('SADD', K('lines'), name)
  has_line(name)
  call.standing[name] = true
end

local function offered_limits(agent)
  local offers = call.offers or {}
  call.offers = offers
  if not offers[agent] then
    local readable, offer = pcall(cjson.decode, redis.call('HGET', K('agents'), agent) or '')
    offers[agent] = readable and type(offer) == 'table' and type(offer.limits) == 'table' and offer.limits or {}
  end
  return offers[agent]
end

-- The limits that a step needs permits of before it starts.
local function limits_of(task, step)
  local spec, names, seen = Step.spec(step), {}, {}
  local wanted = { 'agent:' .. spec.agent, 'tenant:' .. task.tenant }
  for _, key in ipairs(spec.limits) do wanted[#wanted + 1] = 'key:' .. key end
  for _, name in ipairs(offered_limits(spec.agent)) do wanted[#wanted + 1] = name end
  for _, name in ipairs(wanted) do
    if call.limit_names[name] and not seen[name] then
      names[#names + 1], seen[name] = name, true
    end
  end
  return names
end

local function next_holder(task, step)
  return task.id .. ':' .. step.number .. ':' .. step.attempt + 1
end

-- The first of the step's limits that has no room for it; those it holds permits of have. `passed`: whose line it leads.
local function refusing(task, step, names, passed)
  local holder = next_holder(task, step)
  for _, name in ipairs(names) do
    if not holds(name, holder) and (shortage(load_limit(name)) or (name ~= passed and has_line(name))) then
      return name
    end
  end
end

local function take_all(task, step, names, ttl_ms)
  for _, name in ipairs(names) do take(load_limit(name), next_holder(task, step), ttl_ms) end
end

-- A READY step that is being claimed takes all its permits, or none: then it stands in line, and true is returned.
function Limit.refuse(task, step)
  if not Limit.any() then return false end
  local names = limits_of(task, step)
  local refused = refusing(task, step, names)
  if refused then
    for _, name in ipairs(names) do give_back(name, next_holder(task, step)) end
    join(refused, task.priority, task.tenant, task.id .. ':' .. step.number)
    return true
  end
  local ttl_ms = Step.spec(step).run_timeout_ms + policy('run_grace_ms')
  take_all(task, step, names, ttl_ms)
  return false
end

-- The attempt ends: its permits are given back.
function Limit.release(task, step)
  if not Limit.any() then return end
  for _, name in ipairs(limits_of(task, step)) do give_back(name, task.id .. ':' .. step.number .. ':' .. step.attempt) end
end

local function learn_configured(name, rates)
  local limit = load_limit(name)
  if rates[1] + rates[2] + rates[3] == 0 then return limit end
  if limit.told_concurrency == rates[1] and limit.told_requests == rates[2] and limit.told_tokens == rates[3] then
    return limit
  end
  redis.call('HSET', K('limit', name), 'told_concurrency', integer(rates[1]), 'told_requests', integer(rates[2]),
    'told_tokens', integer(rates[3]))
  call.limit[name] = nil
  return load_limit(name)
end

-- A model call takes a permit of its endpoint. Returns nil if it has one, else the milliseconds after which it should ask
-- again; it stands in line then. The permit that its attempt started with is passed on to its first call.
function Limit.admit(task, step, waiter, endpoint, tokens, rates)
  local name = 'model:' .. endpoint
  Limit.any()
  if rates[1] + rates[2] + rates[3] > 0 and not call.limit_names[name] then
    redis.call('SADD', K('limits'), name)
    call.limit_names[name], call.some_limit = true, true
  end
  if not call.limit_names[name] then return nil end
  local limit = learn_configured(name, rates)
  local started_with = step and (task.id .. ':' .. step.number .. ':' .. step.attempt)
  if started_with and holds(name, started_with) then
    redis.call('ZREM', K('permits', name), started_with)
    lease(name, waiter, CALL_PERMIT_MS)
  elseif holds(name, waiter) then
    lease(name, waiter, CALL_PERMIT_MS)
  else
    local short_ms = shortage(limit)
    if not short_ms and has_line(name) then short_ms = ASK_AGAIN_MS end
    if short_ms then
      join(name, task.priority, task.tenant, waiter)
      return math.min(math.max(short_ms, ASK_AGAIN_MS), 5000)
    end
    take(limit, waiter, CALL_PERMIT_MS)
  end
  if limit.token_rate > 0 then
    limit.tokens = limit.tokens - tokens
    store_level(limit)
  end
  return nil
end

-- A call that will not be made leaves the line, and gives back the permit that it may have got meanwhile.
function Limit.leave(task, waiter, endpoint)
  if not Limit.any() then return end
  local name = 'model:' .. endpoint
  redis.call('ZREM', K('lined', name, task.priority, task.tenant), waiter)
  give_back(name, waiter)
end

-- A call has ended and the next one follows: that gets its permit, and counts as a request of its own.
function Limit.pass(waiter, following, endpoint, used_tokens)
  if not Limit.any() then return end
  local name = 'model:' .. endpoint
  if redis.call('ZREM', K('permits', name), waiter) == 0 then return end
  redis.call('ZADD', K('permits', name), call.now + CALL_PERMIT_MS, following)
  if not call.limit_names[name] then return end
  local limit = load_limit(name)
  limit.requests, limit.tokens = limit.requests - 1, limit.tokens - used_tokens
  store_level(limit)
end

-- A call has ended: its permit comes back, and so do the tokens that it was thought to use and did not.
function Limit.finish(waiter, endpoint, unused_tokens)
  if not Limit.any() then return end
  local name = 'model:' .. endpoint
  give_back(name, waiter)
  if not call.limit_names[name] then return end
  local limit = load_limit(name)
  if limit.token_rate > 0 and unused_tokens ~= 0 then
    limit.tokens = math.min(math.max(1, limit.token_rate / 10), limit.tokens + unused_tokens)
    store_level(limit)
  end
end

-- What a provider told of its limits: additive increase, multiplicative decrease (AIMD, as TCP's congestion control).
-- `told`: retry_after_ms, throttled, and of requests and tokens the limit, what remains and when it is reset, or nil.
function Limit.learn(endpoint, told)
  local name = 'model:' .. endpoint
  if not (told.throttled or told.requests or told.tokens or told.retry_after_ms > 0) then
    if not Limit.any() or not call.limit_names[name] then return end
  end
  Limit.any()
  redis.call('SADD', K('limits'), name)
  call.limit_names[name], call.some_limit = true, true
  local limit, changes = load_limit(name), {}
  local function set(field, value)
    changes[#changes + 1], changes[#changes + 2] = field, value
  end
  local blocked = limit.blocked
  if told.throttled then
    blocked = math.max(blocked, call.now + (told.retry_after_ms > 0 and told.retry_after_ms or 1000))
    set('learned_concurrency', string.format('%.3f', math.max(1, math.floor((limit.held + 1) / 2))))
  elseif limit.learned_concurrency > 0 then
    local more = limit.learned_concurrency + 1 / limit.learned_concurrency
    set('learned_concurrency', more < MOST_LEARNED and string.format('%.3f', more) or '0')
  end
  if told.requests then set('learned_requests', integer(told.requests)) end
  if told.tokens then set('learned_tokens', integer(told.tokens)) end
  if told.remaining_requests == 0 and told.reset_requests_ms then
    blocked = math.max(blocked, call.now + told.reset_requests_ms)
  end
  if told.remaining_tokens == 0 and told.reset_tokens_ms then
    blocked = math.max(blocked, call.now + told.reset_tokens_ms)
  end
  if blocked > limit.blocked then set('blocked', integer(blocked)) end
  if #changes > 0 then redis.call('HSET', K('limit', name), unpack(changes)) end
  call.limit[name] = nil
end

-- Whether one that stands in line may go: 'go', 'gone' if it no longer waits, or 'stay' if this limit has no room.
local function call_up(name, waiter, priority)
  local id, number, attempt, call_name = string.match(waiter, '^([^:]+):(%d+):(%d+):(%d+)$')
  if call_name then
    local planned = number == '0' and Task.load(id)
    local held = planned and Task.is_planned(planned, tonumber(attempt))
      or Worker.holding(id .. ':' .. number .. ':' .. attempt)
    if not held then return 'gone' end
    if shortage(load_limit(name)) then return 'stay' end
    take(load_limit(name), waiter, policy('permit_ms'))
    return 'go'
  end
  id, number = string.match(waiter, '^([^:]+):(%d+)$')
  local task = id and Task.load(id)
  local step = task and Step.load(task, tonumber(number))
  if not step or step.state ~= READY then return 'gone' end
  if step.broken then
    Step.reject(task, step)
    return 'gone'
  end
  if task.state ~= 'running' then
    if task.state == 'paused' then step.parked, step.changed, task.changed = 1, true, true end
    return 'gone'
  end
  local names = limits_of(task, step)
  local refused = refusing(task, step, names, name)
  if refused == name then return 'stay' end
  if refused then
    join(refused, priority, task.tenant, waiter)
    return 'gone'
  end
  take_all(task, step, names, policy('permit_ms'))
  Queue.wait(Step.spec(step).agent, priority, task.tenant, waiter, true)
  return 'go'
end

-- Returns false once the limit has no more room.
local function refill_line(name, priority)
  local line, turn = K('line', name, priority), 0
  while call.refillable > 0 do
    local tenant = redis.call('ZRANGE', line, turn, turn)[1]
    if not tenant then return true end
    local room = K('lined', name, priority, tenant)
    local waiter = redis.call('ZRANGE', room, 0, 0)[1]
    if not waiter then
      redis.call('ZREM', line, tenant)
    elseif Pause.tenant(tenant) then
      turn = turn + 1
    else
      call.refillable = call.refillable - 1
      local may = call_up(name, waiter, priority)
      if may == 'stay' then return false end
      redis.call('ZREM', room, waiter)
      if may == 'go' then redis.call('ZINCRBY', line, 1, tenant) end
    end
  end
  return false
end

local function refill_limit(name)
  for _, priority in ipairs(PRIORITIES) do
    if not refill_line(name, priority) then return end
  end
  local empty = true
  for _, priority in ipairs(PRIORITIES) do empty = empty and redis.call('EXISTS', K('line', name, priority)) == 0 end
  if empty then
    redis.call('SREM', K('lines'), name)
    call.standing[name] = nil
  end
end

-- Calls up who stands in the lines of limits that had permits given back; with `all`, in every line.
function Limit.settle_lines(all)
  if not next(call.lines) and not all then return end
  Limit.any()
  -- Looking at a limit drops the permits that have lapsed.
  if all then for name in pairs(call.limit_names) do load_limit(name) end end
  has_line('')
  local names = all and call.standing or call.lines
  local found = {}
  for name in pairs(names) do
    if call.standing[name] then found[#found + 1] = name end
  end
  call.lines, call.refillable = {}, call.refillable or REFILLED_A_CALL
  table.sort(found)
  for _, name in ipairs(found) do refill_limit(name) end
end

-- Drops from the lines what no longer waits: steps of stopped tasks, calls of ended attempts. A bounded number a call.
function Limit.sweep()
  local left = REFILLED_A_CALL * 4
  for _, name in ipairs(redis.call('SMEMBERS', K('lines'))) do
    for _, priority in ipairs(PRIORITIES) do
      for _, tenant in ipairs(redis.call('ZRANGE', K('line', name, priority), 0, -1)) do
        local room = K('lined', name, priority, tenant)
        for _, waiter in ipairs(redis.call('ZRANGE', room, 0, math.max(0, left - 1))) do
          left = left - 1
          local id, number, attempt = string.match(waiter, '^([^:]+):(%d+):?(%d*)')
          local task = Task.load(id)
          local step = task and number ~= '0' and Step.load(task, tonumber(number))
          local waits = task and (number == '0' and Task.is_planned(task, tonumber(attempt))
            or step and (attempt == '' and step.state == READY or attempt ~= '' and step.state == RUNNING))
          if not waits then redis.call('ZREM', room, waiter) end
        end
        if left <= 0 then
          redis.call('SADD', K('sweep'), LINES)
          return
        end
      end
    end
  end
end
