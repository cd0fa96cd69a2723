-- set_tenant_budget: (nothing changes but what a tenant may spend)
-- Keys: budget, call. Arguments: now, tenant, most in all, most in a day (micro-dollars, 0: no limit), id of the request.
-- Reply: 'ok' | 'reused'. Events: none.

local function set_tenant_budget(keys, args)
  begin(keys, args)
  local what = 'budget ' .. args[3] .. ' ' .. args[4]
  local seen = Request.seen(args[2], args[5], what)
  if seen then return seen == 'known' and 'ok' or 'reused' end
  redis.call('HSET', K('budget', args[2]), 'max_total', args[3], 'max_day', args[4])
  Request.keep(args[2], args[5], what)
  return 'ok'
end

register('set_tenant_budget', set_tenant_budget, 'allow-oom')
