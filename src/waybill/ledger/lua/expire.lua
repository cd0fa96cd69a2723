-- expire: SUCCEEDED | FAILED | CANCELLED -> (nothing)
-- Removes ended tasks whose time has come, and every key of theirs. `tick` does the same, a hundred at a time. A task
-- that the archive has not got yet waits for it, but no longer than `archive_wait_ms`.
-- Keys: expiry, task, events, documents, request, index, effects, calls, artifacts, dead, letters, ended, unarchived.
-- Arguments: now, limit. Reply: number removed. Events: none.

local POSTPONED_MS = 10000

local function waits_for_archive(id, ended)
  if not redis.call('ZSCORE', K('unarchived'), id) then return false end
  if policy('archive') == 0 or call.now > ended + policy('retention_ms') + policy('archive_wait_ms') then return false end
  redis.call('ZADD', K('expiry'), call.now + POSTPONED_MS, id)
  return true
end

local function remove(id, tenant, request, letters)
  if tenant then
    redis.call('ZREM', K('index', tenant), id)
    redis.call('ZREM', K('ended', tenant), id)
    redis.call('DEL', K('request', tenant, request))
    Letter.drop_all(tenant, id, letters or '')
  end
  redis.call('DEL', K('task', id), K('events', id), K('documents', id), K('effects', id), K('calls', id),
    K('artifacts', id))
  redis.call('ZREM', K('expiry'), id)
  redis.call('ZREM', K('unarchived'), id)
end

-- Returns how many were removed.
function Task.expire(limit)
  local due = redis.call('ZRANGE', K('expiry'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, limit)
  local removed = 0
  for _, id in ipairs(due) do
    local v = redis.call('HMGET', K('task', id), 'tenant', 'request', 'letters', 'ended')
    if not waits_for_archive(id, tonumber(v[4] or '') or 0) then
      remove(id, v[1], v[2], v[3])
      removed = removed + 1
    end
  end
  return removed
end

local function expire(keys, args)
  begin(keys, args)
  return Task.expire(tonumber(args[2]))
end

register('expire', expire, 'allow-oom')
