-- expire: SUCCEEDED | FAILED | CANCELLED -> (nothing)
-- Removes ended tasks whose time has come, and every key of theirs. `tick` does the same, a hundred at a time. A task
-- that the archive has not got yet waits for it, but no longer than `archive_wait_ms`.
-- A feed has nothing before the newest end that was removed from it: `tenant:lost` of `feeds` says up to where that is, so
-- that a reader who has not come so far is told of the loss.
-- Keys: expiry, task, events, documents, request, index, effects, calls, artifacts, dead, letters, ended, unarchived,
--   feed, feeds.
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

-- `lost`: the newest number of each tenant's feed whose task goes.
local function note_loss(lost, tenant, id)
  local number = tenant and tonumber(redis.call('ZSCORE', K('feed', tenant), id) or '')
  if number then lost[tenant] = math.max(lost[tenant] or 0, number) end
end

local function cut_feeds(lost)
  for tenant, number in pairs(lost) do
    redis.call('HSET', K('feeds'), tenant .. ':lost', integer(number))
    redis.call('ZREMRANGEBYSCORE', K('feed', tenant), '-inf', integer(number))
  end
end

-- Returns how many were removed.
function Task.expire(limit)
  local due = redis.call('ZRANGE', K('expiry'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, limit)
  local removed, lost = 0, {}
  for _, id in ipairs(due) do
    local task = Task.load(id)
    local v = redis.call('HMGET', K('task', id), 'request', 'letters', 'ended')
    if not waits_for_archive(id, tonumber(v[3] or '') or 0) then
      note_loss(lost, task and task.tenant, id)
      remove(id, task and task.tenant, v[1], v[2])
      removed = removed + 1
    end
  end
  cut_feeds(lost)
  return removed
end

local function expire(keys, args)
  begin(keys, args)
  return Task.expire(tonumber(args[2]))
end

register('expire', expire, 'allow-oom')
