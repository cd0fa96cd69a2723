-- Calls that change something and may be repeated: what was asked under a request id is remembered for a while.

-- Why this call must not be applied: 'known' if it was before, 'reused' if its id stands for another call; else nil.
-- `what` is the verb and all that it depends on.
function Request.seen(tenant, id, what)
  local known = id ~= '' and redis.call('GET', K('call', tenant, id))
  if known then return known == what and 'known' or 'reused' end
end

function Request.keep(tenant, id, what)
  if id ~= '' then redis.call('SET', K('call', tenant, id), what, 'PX', integer(policy('request_ms'))) end
end
