-- set_policy: (settings) -> (settings)
-- Writes the policy that functions read. Keys: policy. Arguments: now, then names and numbers. Reply: 1. Events: none.

local function set_policy(keys, args)
  begin(keys, args)
  redis.call('HSET', K('policy'), unpack(args, 2))
  return 1
end

register('set_policy', set_policy, 'allow-oom')
