-- expire: SUCCEEDED | FAILED | CANCELLED -> (nothing)
-- Removes ended tasks whose time has come, and every key of theirs. `tick` does the same, a hundred at a time.
-- Keys: expiry, task, events, documents, request, index. Arguments: now, limit. Reply: number removed. Events: none.

function Task.expire(limit)
  local due = redis.call('ZRANGE', K('expiry'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, limit)
  for _, id in ipairs(due) do
    local v = redis.call('HMGET', K('task', id), 'tenant', 'request')
    if v[1] then
      redis.call('ZREM', K('index', v[1]), id)
      redis.call('DEL', K('request', v[1], v[2]))
    end
    redis.call('DEL', K('task', id), K('events', id), K('documents', id))
    redis.call('ZREM', K('expiry'), id)
  end
  return #due
end

local function expire(keys, args)
  begin(keys, args)
  return Task.expire(tonumber(args[2]))
end

register('expire', expire, 'allow-oom')
