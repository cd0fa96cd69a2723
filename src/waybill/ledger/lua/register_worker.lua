-- register_worker: (worker) unknown -> live
-- Announces a worker and its agents. An older incarnation of the same name is reclaimed at once.
-- Keys: workers, worker, names, agents, serving, queues, queue.
-- Arguments: now, id, name, address, slots, agents n, then n times: name, offer (JSON).
-- Reply: number of steps reclaimed. Events: step_retried, step_ready for reclaimed steps.

local function register_worker(keys, args)
  begin(keys, args)
  local id, name = args[2], args[3]
  local older, reclaimed = redis.call('HGET', K('names'), name), 0
  if older and older ~= id then reclaimed = Worker.reclaim(older) end
  local agents = {}
  for i = 7, 6 + 2 * tonumber(args[6]), 2 do
    agents[#agents + 1] = args[i]
    redis.call('HSET', K('agents'), args[i], args[i + 1])
    Batch.announce(args[i], args[i + 1])
    redis.call('SADD', K('serving', args[i]), id)
    for _, priority in ipairs(PRIORITIES) do
      Queue.open(args[i], priority)
      Queue.touch(args[i], priority)
    end
  end
  redis.call('HSET', K('names'), name, id)
  redis.call('HSET', K('worker', id), 'name', name, 'address', args[4], 'slots', args[5],
    'agents', table.concat(agents, ' '))
  redis.call('HSETNX', K('worker', id), 'seq', '0')
  redis.call('SREM', K('busy'), id)
  redis.call('ZADD', K('workers'), call.now + policy('worker_ttl_ms'), id)
  Queue.settle_rooms()
  flush()
  return reclaimed
end

register('register_worker', register_worker, 'allow-oom')
