-- Turns: tenants in a waiting room, or in the line of a limit, by how much they were given, each divided by its weight. Who
-- was given least is next.

-- Places who comes new before those who were there: it was given nothing, and makes up for no absence.
local BEFORE = 0.001

-- How many times as much as others a tenant gets, as the operator's policy says.
local function weight(tenant)
  if policy('weights') == 0 then return 1 end
  local weights = call.weights or {}
  call.weights = weights
  if not weights[tenant] then
    weights[tenant] = math.max(0.001, tonumber(redis.call('HGET', K('weights'), tenant) or '') or 1)
  end
  return weights[tenant]
end

local function place(room, tenant)
  local head = redis.call('ZRANGE', room, 0, 0, 'WITHSCORES')
  redis.call('ZADD', room, head[2] and string.format('%.17g', tonumber(head[2]) - BEFORE) or '0', tenant)
end

-- Returns whether the tenant was not there before.
function Turn.enter(room, tenant)
  if redis.call('ZSCORE', room, tenant) then return false end
  place(room, tenant)
  return true
end

-- The tenant was given so much; less than nothing is taken back.
function Turn.charge(room, tenant, count)
  if count ~= 0 then
    redis.call('ZADD', room, 'XX', 'INCR', string.format('%.17g', count / weight(tenant)), tenant)
  end
end

-- A tenant that comes back takes its turn with the others instead of making up for its absence.
function Turn.take(room, tenant)
  if redis.call('ZREM', room, tenant) == 1 then place(room, tenant) end
end
