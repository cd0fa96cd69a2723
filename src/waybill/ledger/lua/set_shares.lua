-- set_shares: (batching of agents, weights of tenants) -> (the same)
-- Writes what the operator says of single agents and tenants, in the place of all that was said before.
-- Keys: pace, weights, policy.
-- Arguments: now, agents a, a times: agent, "least most target_ms" (0: as its code says); tenants t, t times: tenant, weight.
-- Reply: 1. Events: none.

local SET = ':set'

local function set_shares(keys, args)
  begin(keys, args)
  local pace, values, forgotten = K('pace'), {}, {}
  local agents = tonumber(args[2])
  local first = 4 + 2 * agents
  for i = 3, 2 + 2 * agents, 2 do
    values[#values + 1] = args[i] .. SET
    values[#values + 1] = args[i + 1]
  end
  for _, field in ipairs(redis.call('HKEYS', pace)) do
    if string.sub(field, -#SET) == SET then forgotten[#forgotten + 1] = field end
  end
  in_chunks('HDEL', pace, forgotten)
  in_chunks('HSET', pace, values, 2)
  local weights = {}
  for i = first, #args do weights[#weights + 1] = args[i] end
  redis.call('DEL', K('weights'))
  in_chunks('HSET', K('weights'), weights, 2)
  redis.call('HSET', K('policy'), 'weights', args[first - 1])
  return 1
end

register('set_shares', set_shares, 'allow-oom')
