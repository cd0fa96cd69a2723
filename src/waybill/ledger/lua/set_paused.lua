-- set_paused: (agent or tenant) free <-> paused
-- Holds all steps of an agent or of a tenant, or lets them go on. What runs goes on. What waits in queues goes back to
-- the waiting room; batches that a worker has read already are put back when it claims them.
-- Keys: paused, queue, ready, waiting, call.
-- Arguments: now, kind ('agent' or 'tenant'), name, '1' or '0', tenant and id of the request (may be empty).
-- Reply: 'ok' | 'reused'. Events: none.

local function set_paused(keys, args)
  begin(keys, args)
  local kind, name, paused = args[2], args[3], args[4] == '1'
  local what = 'paused ' .. kind .. ':' .. name .. ' ' .. args[4]
  local seen = Request.seen(args[5], args[6], what)
  if seen then return seen == 'known' and 'ok' or 'reused' end
  redis.call(paused and 'SADD' or 'SREM', K('paused'), kind .. ':' .. name)
  Queue.each(function(agent, priority)
    if kind == 'agent' and agent ~= name then return end
    if paused then
      Queue.withdraw(agent, priority, kind == 'tenant' and name or nil)
    else
      if kind == 'tenant' then Turn.take(K('ready', agent, priority), name) end
      Queue.touch(agent, priority)
    end
  end)
  if kind == 'tenant' and not paused then Line.take_turn(name) end
  Queue.settle_rooms()
  Request.keep(args[5], args[6], what)
  flush()
  return 'ok'
end

register('set_paused', set_paused, 'allow-oom')
