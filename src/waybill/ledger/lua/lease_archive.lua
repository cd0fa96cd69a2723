-- lease_archive: SUCCEEDED | FAILED | CANCELLED (nothing changes but who may archive)
-- Hands out ended tasks that are not archived yet; each is handed out again when the lease lapses without a mark.
-- Keys: unarchived, task. Arguments: now, lease_ms, limit. Reply: for each task {id, ended ms}. Events: none.

local function lease_archive(keys, args)
  begin(keys, args)
  local leased = {}
  for _, id in ipairs(redis.call('ZRANGE', K('unarchived'), '-inf', call.now, 'BYSCORE', 'LIMIT', 0, args[3])) do
    local ended = redis.call('HGET', K('task', id), 'ended')
    if ended then
      redis.call('ZADD', K('unarchived'), call.now + tonumber(args[2]), id)
      leased[#leased + 1] = { id, tonumber(ended) }
    else
      redis.call('ZREM', K('unarchived'), id)
    end
  end
  return leased
end

register('lease_archive', lease_archive, 'allow-oom')
