-- What the limits of a model's endpoint are, by what its provider tells: additive increase, multiplicative decrease
-- (AIMD, as TCP's congestion control). What an operator set or a worker was configured with is never exceeded.

local MOST_LEARNED = 1000
local SLOWEST, REGAINED = 0.03125, 0.02
-- Whatever a provider says, it is asked again after that.
local LONGEST_BLOCK_MS = 86400000
local UNTOLD_BLOCK_MS = 1000

local function slow_down(limit, set)
  local under_way = limit.held
  if limit.learned_concurrency > 0 then under_way = math.min(under_way, limit.learned_concurrency) end
  set('learned_concurrency', string.format('%.3f', math.max(1, math.floor((under_way + 1) / 2))))
  if limit.request_rate + limit.token_rate > 0 then
    set('slowed', string.format('%.4f', math.max(SLOWEST, limit.slowed / 2)))
  end
end

local function speed_up(limit, set)
  if limit.learned_concurrency > 0 then
    local more = limit.learned_concurrency + 1 / limit.learned_concurrency
    set('learned_concurrency', more < MOST_LEARNED and string.format('%.3f', more) or '0')
  end
  if limit.slowed < 1 then set('slowed', string.format('%.4f', math.min(1, limit.slowed + REGAINED))) end
end

local function block_ms(told)
  local longest = 0
  if told.throttled then longest = told.retry_after_ms > 0 and told.retry_after_ms or UNTOLD_BLOCK_MS end
  if told.remaining_requests == 0 then longest = math.max(longest, told.reset_requests_ms or 0) end
  if told.remaining_tokens == 0 then longest = math.max(longest, told.reset_tokens_ms or 0) end
  return math.min(longest, LONGEST_BLOCK_MS)
end

-- A call to the endpoint has ended, and still holds its permit. `told`: retry_after_ms, throttled, and of requests and
-- tokens the limit, what remains and when it is reset, or nil. One block takes the speed down once, however many calls
-- were under way when it began.
function Limit.learn(endpoint, told)
  local name = 'model:' .. endpoint
  if told.throttled or told.requests or told.tokens then Limit.announce(name) end
  if not Limit.exists(name) then return end
  local limit, changes = Limit.load(name), {}
  local function set(field, value)
    changes[#changes + 1], changes[#changes + 2] = field, value
  end
  if told.throttled then
    if limit.blocked <= call.now then slow_down(limit, set) end
  else
    speed_up(limit, set)
  end
  if told.requests and told.requests ~= limit.learned_requests then set('learned_requests', integer(told.requests)) end
  if told.tokens and told.tokens ~= limit.learned_tokens then set('learned_tokens', integer(told.tokens)) end
  local blocked = call.now + block_ms(told)
  if blocked > math.max(limit.blocked, call.now) then set('blocked', integer(blocked)) end
  if #changes > 0 then
    redis.call('HSET', K('limit', name), unpack(changes))
    call.limit[name] = nil
  end
  Limit.clip(Limit.load(name), told.remaining_requests, told.remaining_tokens)
end
