-- What is spent and what is reserved for it: by step, task, tenant and day. A model call reserves its worst case before it
-- is made (`begin_call`), and what it used takes the place of that afterwards (`end_call`). A call whose end nobody saw
-- counts as its worst case, until its end is told after all.
--
-- (none) -> open                   begin_call, and pass_call for what is left of the one before
-- open -> (none)                   drop_call: it was not made
-- open -> settled | estimated      end_call: by the provider's account, or by the caller's guess where it gave none
-- open -> estimated                abandon: the attempt ended first
-- estimated -> settled | estimated end_call: told late

local DAY_MS = 86400000
local CALL_FIELDS = { 'state', 'nonce', 'day', 'agent', 'model', 'endpoint', 'started', 'ended', 'worst_input',
  'worst_output', 'worst_cost' }
local CALL_TEXTS = { state = true, nonce = true, agent = true, model = true, endpoint = true }
local PLANNER, UNREADABLE = 'planner', 'unreadable'

local function day_of(ms)
  return math.floor(ms / DAY_MS)
end

local function keep(key)
  redis.call('PEXPIRE', key, integer(policy('usage_ms')), 'NX')
end

-- Adds to what a tenant spent, in all and on a day, by agent and model. `calls` is how many calls ended with it.
function Money.count(tenant, day, agent, model, used, calls)
  local key, row = K('usage', tenant, day), agent .. ' ' .. model .. ' '
  for _, field in ipairs(USAGE) do
    if used[field] ~= 0 then redis.call('HINCRBY', key, row .. field, integer(used[field])) end
  end
  if calls ~= 0 then redis.call('HINCRBY', key, row .. 'calls', integer(calls)) end
  if used.cost ~= 0 then
    redis.call('HINCRBY', key, 'spent', integer(used.cost))
    redis.call('HINCRBY', K('budget', tenant), 'spent', integer(used.cost))
  end
  keep(key)
end

-- What an attempt reported by itself, at its end.
function Money.report(task, step, spent)
  Usage.add(step, spent)
  Usage.add(task, spent)
  Money.count(task.tenant, day_of(call.now), Step.spec(step).agent, '', spent, 0)
end

local function reserve(task, day, cost)
  task.reserved, task.changed = task.reserved + cost, true
  redis.call('HINCRBY', K('budget', task.tenant), 'reserved', integer(cost))
  redis.call('HINCRBY', K('usage', task.tenant, day), 'reserved', integer(cost))
  keep(K('usage', task.tenant, day))
end

-- Why `cost` may not be spent now: 'over' if it crosses a limit whatever comes back, 'wait' if only together with what
-- is reserved; the limit's scope, and what is left of it. Nil if it may.
function Money.obstacle(task, cost)
  local tenant = redis.call('HMGET', K('budget', task.tenant), 'max_total', 'max_day', 'spent', 'reserved')
  local day = redis.call('HMGET', K('usage', task.tenant, day_of(call.now)), 'spent', 'reserved')
  local waits
  for _, row in ipairs({
    { 'task', task.budget, task.cost, task.reserved },
    { 'tenant', tonumber(tenant[1] or '') or 0, tonumber(tenant[3] or '') or 0, tonumber(tenant[4] or '') or 0 },
    { 'day', tonumber(tenant[2] or '') or 0, tonumber(day[1] or '') or 0, tonumber(day[2] or '') or 0 },
  }) do
    local scope, limit, spent, reserved = row[1], row[2], row[3], row[4]
    if limit > 0 and cost > 0 then
      if spent + cost > limit then return 'over', scope, math.max(0, limit - spent) end
      if spent + reserved + cost > limit then waits = { scope, math.max(0, limit - spent - reserved) } end
    end
  end
  if waits then return 'wait', waits[1], waits[2] end
end

local function call_id(number, attempt, name)
  return number .. ':' .. attempt .. ':' .. name
end

local function store(task, record)
  local packed = {}
  for i, field in ipairs(CALL_FIELDS) do packed[i] = record[field] end
  for i, field in ipairs(USAGE) do packed[#CALL_FIELDS + i] = record.used[field] end
  redis.call('HSET', K('calls', task.id), record.id, cmsgpack.pack(packed))
end

-- The calls of an attempt that are open, each as name@day@cost: what was reserved, and on which day, stands here besides
-- the call's own record, so that it is given back even if that cannot be decoded.
local function open_calls(task, number, attempt)
  return redis.call('HGET', K('calls', task.id), call_id(number, attempt, 'open')) or ''
end

local OPEN_CALL = '(%d+)@(%d+)@(%d+)'

local function decoded(record, packed)
  local readable, values = pcall(cmsgpack.unpack, packed)
  if not readable or type(values) ~= 'table' then return nil end
  for i, field in ipairs(CALL_FIELDS) do
    if type(values[i]) ~= (CALL_TEXTS[field] and 'string' or 'number') then return nil end
    record[field] = values[i]
  end
  for i, field in ipairs(USAGE) do record.used[field] = tonumber(values[#CALL_FIELDS + i]) or 0 end
  return record
end

-- What stands for a record that no code here can decode: open if it is one of those, else settled, as it counts already.
local function stand_in(task, record)
  local step = record.number > 0 and Step.load(task, record.number)
  record.state, record.nonce, record.model, record.endpoint = 'settled', '', UNREADABLE, ''
  record.agent, record.used = step and Step.spec(step).agent or PLANNER, Usage.none()
  record.started, record.ended, record.worst_input, record.worst_output = call.now, 0, 0, 0
  for name, day, cost in string.gmatch(open_calls(task, record.number, record.attempt), OPEN_CALL) do
    if name == record.name then
      record.state, record.day, record.worst_cost = 'open', tonumber(day), tonumber(cost)
    end
  end
  return record
end

-- The record of a call, or nil.
function Money.load(task, number, attempt, name)
  local id = call_id(number, attempt, name)
  local packed = redis.call('HGET', K('calls', task.id), id)
  if not packed then return nil end
  local record = { id = id, number = number, attempt = attempt, name = name, used = {} }
  return decoded(record, packed) or stand_in(task, record)
end

-- Whether a call was begun, whatever became of it.
function Money.knows(task, number, attempt, name)
  return redis.call('HEXISTS', K('calls', task.id), call_id(number, attempt, name)) == 1
end

local function set_open(task, step, number, attempt, names)
  local field = call_id(number, attempt, 'open')
  if names == '' then
    redis.call('HDEL', K('calls', task.id), field)
  else
    redis.call('HSET', K('calls', task.id), field, names)
  end
  local _, count = string.gsub(names, OPEN_CALL, '')
  if step then
    if step.attempt == attempt then step.open_calls, step.changed = count, true end
  elseif count > 0 or task.open_calls == attempt + 1 then
    -- One more than the round, as rounds begin at 0.
    task.open_calls = count > 0 and attempt + 1 or 0
  end
  task.changed = true
end

-- (none) -> open. `worst` is what it may use.
function Money.open(task, step, number, attempt, name, nonce, model, endpoint, worst)
  local day = day_of(call.now)
  local record = { id = call_id(number, attempt, name), number = number, attempt = attempt, name = name, state = 'open',
    nonce = nonce, day = day, agent = step and Step.spec(step).agent or PLANNER, model = model, endpoint = endpoint,
    started = call.now, ended = 0, worst_input = worst.input_tokens, worst_output = worst.output_tokens,
    worst_cost = worst.cost, used = Usage.none() }
  reserve(task, day, worst.cost)
  store(task, record)
  set_open(task, step, number, attempt, string.format('%s %s@%d@%d', open_calls(task, number, attempt), name, day,
    worst.cost))
end

-- Puts `used` in the place of what the call counted for before. Event: call_ended.
local function settle_call(task, step, record, used, state)
  local difference = Usage.difference(used, record.used)
  local first = record.ended == 0
  if record.state == 'open' then reserve(task, record.day, -record.worst_cost) end
  record.state, record.used, record.ended = state, used, call.now
  store(task, record)
  Usage.add(task, difference)
  if step then
    Usage.add(step, difference)
    step.changed = true
  end
  task.changed = true
  Task.archive_again(task)
  Money.count(task.tenant, record.day, record.agent, record.model, difference, first and 1 or 0)
  Task.event(task, 'call_ended', string.format('%s,"attempt":%d,"call":%s,"model":%s%s',
    step and (',"step":"' .. Step.spec(step).name .. '"') or '', record.attempt, record.name,
    cjson.encode(record.model), Usage.json(used)))
end

-- The call is none of those that are open any more.
local function close(task, step, record)
  local rest = {}
  for name, day, cost in string.gmatch(open_calls(task, record.number, record.attempt), OPEN_CALL) do
    if name ~= record.name then rest[#rest + 1] = name .. '@' .. day .. '@' .. cost end
  end
  set_open(task, step, record.number, record.attempt, table.concat(rest, ' '))
end

-- open -> none: it was not made.
function Money.drop(task, step, record)
  close(task, step, record)
  reserve(task, record.day, -record.worst_cost)
  redis.call('HDEL', K('calls', task.id), record.id)
end

-- open | estimated -> settled | estimated. `guessed`: the provider gave no account.
function Money.settle(task, step, record, used, guessed)
  local state = (guessed or used.estimated > 0) and 'estimated' or 'settled'
  if record.state == state and Usage.is_none(Usage.difference(used, record.used)) then return end
  if record.state == 'open' then close(task, step, record) end
  settle_call(task, step, record, used, state)
end

local function count_as_worst(task, step, record)
  local worst = Usage.none()
  worst.input_tokens, worst.output_tokens = record.worst_input, record.worst_output
  worst.cost, worst.estimated = record.worst_cost, record.worst_cost
  Limit.finish(string.format('%s:%s', task.id, record.id), record.endpoint, 0)
  settle_call(task, step, record, worst, 'estimated')
end

local function abandon(task, step, number, attempt)
  for name in string.gmatch(open_calls(task, number, attempt), OPEN_CALL) do
    local record = Money.load(task, number, attempt, name)
    if record and record.state == 'open' then count_as_worst(task, step, record) end
  end
  set_open(task, step, number, attempt, '')
end

-- The step's attempt ends, whatever its open calls come to.
function Money.abandon(task, step)
  if step.open_calls > 0 then abandon(task, step, step.number, step.attempt) end
end

-- The planner's round ends.
function Money.abandon_planner(task)
  if task.open_calls > 0 then abandon(task, nil, 0, task.open_calls - 1) end
end

-- Every open call of the task, or of its step `number`, where no record of an attempt tells of them any more.
function Money.abandon_all(task, number)
  for _, field in ipairs(redis.call('HKEYS', K('calls', task.id))) do
    local of, attempt, name = string.match(field, '^(%d+):(%d+):(%d+)$')
    of, attempt = tonumber(of), tonumber(attempt)
    local record = of and (not number or of == number) and Money.load(task, of, attempt, name)
    if record and record.state == 'open' then
      local step = of > 0 and Step.load(task, of) or nil
      count_as_worst(task, step, record)
      close(task, step, record)
    end
  end
end

-- The task has ended, so nothing is reserved for it. What its records do not tell of goes back to the tenant all the same.
function Money.close(task)
  if task.reserved == 0 then return end
  Money.abandon_all(task)
  redis.call('HINCRBY', K('budget', task.tenant), 'reserved', integer(-task.reserved))
  task.reserved = 0
end
