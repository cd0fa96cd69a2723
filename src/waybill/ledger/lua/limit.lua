-- Limits, and the permits that are taken of them: how many attempts (or model calls) run at once and start in a minute,
-- over all workers. Who gets no permit stands in the limit's line (line.lua) and holds nothing meanwhile.
--
-- A permit is a lease under its holder's name: task:number:attempt, or task:number:attempt:call. It is given back when its
-- holder ends, and lapses if nobody does. A step's record names the limits that it took permits of. Rates are token buckets
-- of a tenth of a minute's worth (token bucket: RFC 2697), so that a minute sees at most a tenth more than its rate, and
-- what was called up just before it; a bucket may be overdrawn by its last taker.

local CALL_PERMIT_MS = 600000
local ASK_AGAIN_MS = 200
local LIMIT_FIELDS = { 'max_concurrency', 'requests_per_minute', 'tokens_per_minute', 'told_concurrency',
  'told_requests', 'told_tokens', 'learned_concurrency', 'learned_requests', 'learned_tokens', 'blocked', 'slowed',
  'requests', 'tokens', 'at' }
local NONE = {}

local function least(...)
  local found = 0
  for _, number in ipairs({ ... }) do
    if number > 0 and (found == 0 or number < found) then found = number end
  end
  return found
end

local function capacity(rate)
  return math.max(1, rate / 10)
end

local function slower(rate, part)
  return rate > 0 and math.max(1, math.floor(rate * part)) or 0
end

-- What a bucket holds. Without a rate it is full: what started then does not count later.
local function level(stored, rate, elapsed)
  if rate == 0 then return capacity(rate) end
  return math.min(capacity(rate), (stored or capacity(rate)) + elapsed * rate / 60000)
end

-- Whether there is any limit at all: nothing else is asked where there is none.
function Limit.any()
  if not call.limit_names then
    call.limit_names, call.limit, call.step_limits = {}, {}, {}
    for _, name in ipairs(redis.call('SMEMBERS', K('limits'))) do
      call.limit_names[name] = true
      call.some_limit = true
    end
  end
  return call.some_limit
end

function Limit.exists(name)
  return Limit.any() and call.limit_names[name]
end

function Limit.announce(name)
  if Limit.exists(name) then return end
  redis.call('SADD', K('limits'), name)
  call.limit_names[name], call.some_limit = true, true
end

function Limit.load(name)
  if call.limit[name] then return call.limit[name] end
  local v = redis.call('HMGET', K('limit', name), unpack(LIMIT_FIELDS))
  local limit = { name = name }
  for i, field in ipairs(LIMIT_FIELDS) do limit[field] = tonumber(v[i] or '') end
  for i = 1, 10 do limit[LIMIT_FIELDS[i]] = limit[LIMIT_FIELDS[i]] or 0 end
  limit.most = least(limit.max_concurrency, limit.told_concurrency, math.floor(limit.learned_concurrency))
  limit.slowed = math.min(limit.slowed or 1, 1)
  limit.request_rate = slower(least(limit.requests_per_minute, limit.told_requests, limit.learned_requests), limit.slowed)
  limit.token_rate = slower(least(limit.tokens_per_minute, limit.told_tokens, limit.learned_tokens), limit.slowed)
  local elapsed = math.max(0, call.now - (limit.at or call.now))
  limit.requests = level(limit.requests, limit.request_rate, elapsed)
  limit.tokens = level(limit.tokens, limit.token_rate, elapsed)
  redis.call('ZREMRANGEBYSCORE', K('permits', name), '-inf', call.now)
  limit.held = redis.call('ZCARD', K('permits', name))
  call.limit[name] = limit
  return limit
end

-- Takes from the buckets; less than nothing is put back.
local function draw(limit, requests, tokens)
  if limit.request_rate == 0 and limit.token_rate == 0 then return end
  limit.requests = math.min(capacity(limit.request_rate), limit.requests - requests)
  limit.tokens = math.min(capacity(limit.token_rate), limit.tokens - tokens)
  limit.at = call.now
  redis.call('HSET', K('limit', limit.name), 'requests', string.format('%.6f', limit.requests),
    'tokens', string.format('%.6f', limit.tokens), 'at', integer(call.now))
end

-- No more is in the buckets than the provider says remains, where it says so.
function Limit.clip(limit, requests, tokens)
  draw(limit, math.max(0, limit.requests - (requests or limit.requests)),
    math.max(0, limit.tokens - (tokens or limit.tokens)))
end

-- How long the limit does not let even its holders make a call, in milliseconds; nil if it does.
local function closure(limit)
  if limit.blocked > call.now then return limit.blocked - call.now end
  if limit.token_rate > 0 and limit.tokens <= 0 then
    return math.ceil((1 - limit.tokens) * 60000 / limit.token_rate)
  end
end

-- How long the limit has no room for another holder, in milliseconds; nil if it has.
function Limit.shortage(name)
  local limit = Limit.load(name)
  if limit.most > 0 and limit.held >= limit.most then return math.max(ASK_AGAIN_MS, limit.blocked - call.now) end
  if limit.request_rate > 0 and limit.requests < 1 then
    return math.ceil((1 - limit.requests) * 60000 / limit.request_rate)
  end
  return closure(limit)
end

function Limit.holds(name, holder)
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

-- `tokens` is what the holder is about to use, as far as that is known.
function Limit.take(name, holder, ttl_ms, tokens)
  if not lease(name, holder, ttl_ms) then return end
  local limit = Limit.load(name)
  limit.held = limit.held + 1
  draw(limit, 1, tokens)
end

-- Returns whether the holder had one.
local function give_back(name, holder)
  if redis.call('ZREM', K('permits', name), holder) == 0 then return false end
  if call.limit and call.limit[name] then call.limit[name].held = call.limit[name].held - 1 end
  call.lines[name] = true
  return true
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

-- The limits that a step needs permits of before it starts, in the order in which it takes them.
function Limit.of_step(task, step)
  if not Limit.any() then return NONE end
  local spec = Step.spec(step)
  local key = spec.agent .. ' ' .. task.tenant .. ' ' .. table.concat(spec.limits, ' ')
  if call.step_limits[key] then return call.step_limits[key] end
  local names, seen = {}, {}
  local wanted = { 'agent:' .. spec.agent, 'tenant:' .. task.tenant }
  for _, chosen in ipairs(spec.limits) do wanted[#wanted + 1] = 'key:' .. chosen end
  for _, name in ipairs(offered_limits(spec.agent)) do wanted[#wanted + 1] = name end
  for _, name in ipairs(wanted) do
    if call.limit_names[name] and not seen[name] then
      names[#names + 1], seen[name] = name, true
    end
  end
  table.sort(names)
  call.step_limits[key] = names
  return names
end

local function attempt_of(task, step, attempt)
  return task.id .. ':' .. step.number .. ':' .. attempt
end

-- The first of these limits that has no room for the READY step. What it was called up for it may hold still, and the
-- lines of the others are no obstacle to it: it stood in one.
function Limit.refusing(task, step, names, is_called)
  local holder = attempt_of(task, step, step.attempt + 1)
  for _, name in ipairs(names) do
    local holds = step.permits ~= 0 and Limit.holds(name, holder)
    if not holds and (Limit.shortage(name) or not is_called and Line.stands(name)) then return name end
  end
end

function Limit.take_all(task, step, names, ttl_ms)
  for _, name in ipairs(names) do Limit.take(name, attempt_of(task, step, step.attempt + 1), ttl_ms, 0) end
  step.permits, step.changed, task.changed = #names > 0 and table.concat(names, ' ') or 0, true, true
end

-- A step that goes from one line to the next keeps what it has, and its place in the line that it leads, as short leases.
function Limit.keep_with(task, step, names, led)
  local holder, kept = attempt_of(task, step, step.attempt + 1), {}
  for _, name in ipairs(names) do
    if name == led or Limit.holds(name, holder) then
      Limit.take(name, holder, policy('permit_ms'), 0)
      kept[#kept + 1] = name
    end
  end
  step.permits, step.changed, task.changed = table.concat(kept, ' '), true, true
end

local function give_all_back(task, step, attempt)
  if step.permits == 0 then return end
  for name in string.gmatch(step.permits, '%S+') do give_back(name, attempt_of(task, step, attempt)) end
  step.permits, step.changed, task.changed = 0, true, true
end

-- The attempt ends: its permits are given back.
function Limit.release(task, step)
  give_all_back(task, step, step.attempt)
end

-- A READY step does not start with the permits for which it was called up.
function Limit.forgo(task, step)
  give_all_back(task, step, step.attempt + 1)
end

-- A READY step that is being claimed takes all its permits, or none: then it stands in line, and true is returned. One
-- that was called up goes before the line, also if its permits have lapsed on its way through the queue.
function Limit.refuse(task, step)
  local names, was_called = Limit.of_step(task, step), step.permits ~= 0
  if #names == 0 and not was_called then return false end
  local refused = Limit.refusing(task, step, names, was_called)
  if refused then
    Limit.forgo(task, step)
    Line.join(refused, task, task.id .. ':' .. step.number, step.ready)
    -- Whoever stands there goes first; there may be room for them.
    call.lines[refused] = true
    return true
  end
  Limit.take_all(task, step, names, Step.spec(step).run_timeout_ms + policy('run_grace_ms'))
  return false
end

-- What the caller's configuration says of the endpoint.
local function learn_configured(name, rates)
  if rates[1] + rates[2] + rates[3] > 0 then Limit.announce(name) end
  if not Limit.exists(name) then return end
  local limit = Limit.load(name)
  if limit.told_concurrency == rates[1] and limit.told_requests == rates[2] and limit.told_tokens == rates[3] then
    return
  end
  redis.call('HSET', K('limit', name), 'told_concurrency', integer(rates[1]), 'told_requests', integer(rates[2]),
    'told_tokens', integer(rates[3]))
  call.limit[name] = nil
end

-- The permit with which the attempt started is passed on to its first call. Where the provider lets nobody call just now it
-- is given back instead, so that the call can stand in line.
local function pass_on(task, step, name, holder, tokens)
  local started_with = step and step.permits ~= 0 and attempt_of(task, step, step.attempt)
  if not started_with or not Limit.holds(name, started_with) then return false end
  local limit = Limit.load(name)
  if closure(limit) then
    give_back(name, started_with)
    draw(limit, -1, 0)
    return false
  end
  redis.call('ZREM', K('permits', name), started_with)
  lease(name, holder, CALL_PERMIT_MS)
  draw(limit, 0, tokens)
  return true
end

-- Whether the call holds the permit for which it was called up; it is its own from then on.
function Limit.keep(holder, endpoint)
  local name = 'model:' .. endpoint
  if not Limit.exists(name) or not Limit.holds(name, holder) then return false end
  lease(name, holder, CALL_PERMIT_MS)
  return true
end

-- A model call takes a permit of its endpoint. Returns nil if it has one, or needs none, else the milliseconds after which it
-- should ask again; it stands in line then, if it is patient.
function Limit.admit(task, step, holder, endpoint, tokens, rates, is_patient)
  local name = 'model:' .. endpoint
  learn_configured(name, rates)
  if not Limit.exists(name) then
    -- When the provider sets a limit, what is under way is known.
    lease(name, holder, CALL_PERMIT_MS)
    return nil
  end
  if Limit.keep(holder, endpoint) or pass_on(task, step, name, holder, tokens) then return nil end
  local short_ms = Limit.shortage(name)
  if not short_ms and Line.stands(name) then
    short_ms, call.lines[name] = ASK_AGAIN_MS, true
  end
  if not short_ms then
    Limit.take(name, holder, CALL_PERMIT_MS, tokens)
    return nil
  end
  if is_patient then Line.join_call(name, task, holder, tokens) end
  -- It asks again before the permit lapses for which it may be called up at once.
  return math.min(math.max(short_ms, ASK_AGAIN_MS), math.floor(policy('permit_ms') / 2))
end

-- A call that will not be made leaves the line, and gives back the permit that it may have got meanwhile.
function Limit.leave(task, holder, endpoint, tokens)
  local name = 'model:' .. endpoint
  if not Limit.exists(name) then return end
  Line.quit_call(name, task, holder, tokens)
  if give_back(name, holder) then draw(Limit.load(name), -1, -tokens) end
end

-- A call has ended and the next one follows: that gets its permit, and counts as a request of its own.
function Limit.pass(holder, following, endpoint, used_tokens)
  local name = 'model:' .. endpoint
  if redis.call('ZREM', K('permits', name), holder) == 0 then return end
  lease(name, following, CALL_PERMIT_MS)
  if Limit.exists(name) then draw(Limit.load(name), 1, used_tokens) end
end

-- A call has ended: its permit comes back, and so do the tokens that it was thought to use and did not.
function Limit.finish(holder, endpoint, unused_tokens)
  local name = 'model:' .. endpoint
  give_back(name, holder)
  if not Limit.exists(name) then return end
  if unused_tokens ~= 0 then draw(Limit.load(name), 0, -unused_tokens) end
end
