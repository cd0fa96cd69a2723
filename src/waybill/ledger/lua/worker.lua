-- Liveness of workers: one heartbeat each; whoever lets it lapse loses what it holds.

local LOST = '{"reason":"WORKER_LOST","message":"the worker died or could not be reached; the step runs again"}'

-- What workers hold from now on, and no longer: written here, or by `flush`.
function Worker.write_held()
  for worker, values in pairs(call.claimed) do in_chunks('ZADD', K('held', worker), values, 2) end
  for worker, values in pairs(call.released) do in_chunks('ZREM', K('held', worker), values) end
  call.claimed, call.released = {}, {}
end

-- Extends a worker's life. Returns false if it is not known (any more).
function Worker.beat(id)
  local workers = K('workers')
  if redis.call('ZADD', workers, 'XX', 'CH', call.now + policy('worker_ttl_ms'), id) == 1 then return true end
  return redis.call('ZSCORE', workers, id) ~= false
end

-- How many workers of an agent have a free slot, besides this one. One that has not said otherwise has.
function Worker.idle(agent, besides)
  local serving = K('serving', agent)
  local idle = redis.call('SCARD', serving)
  if idle == 0 then return 0 end
  idle = idle - redis.call('SINTERCARD', 2, serving, K('busy'))
  if besides and idle > 0 and redis.call('SISMEMBER', K('busy'), besides) == 0 then idle = idle - 1 end
  return idle
end

-- Notes whether all slots of a worker are taken.
function Worker.mark(id, is_busy)
  redis.call(is_busy and 'SADD' or 'SREM', K('busy'), id)
end

-- A held step as `task`, `step`, or nil if the ledger does not have it running under this attempt.
function Worker.holding(member)
  local id, number, attempt = string.match(member, '^([^:]+):(%d+):(%d+)$')
  if not id then return nil end
  return Worker.running(id, tonumber(number), tonumber(attempt))
end

function Worker.running(id, number, attempt)
  local task, step = Task.find(id, number)
  if step and step.state == RUNNING and step.attempt == attempt then return task, step end
end

-- Gives up a held step whose record cannot be decoded: nothing else would ever find it.
function Worker.reject(member)
  local id, number = string.match(member, '^([^:]+):(%d+):%d+$')
  local task = id and Task.load(id)
  local step = task and Step.load(task, tonumber(number))
  if step and step.broken and step.state == READY then Step.reject(task, step) end
end

-- Forgets a worker. Its steps run again elsewhere, and so do the batches it had read and not claimed.
function Worker.remove(id, failure, lost)
  local members = redis.call('ZRANGE', K('held', id), 0, -1)
  for _, member in ipairs(members) do
    local task, step = Worker.holding(member)
    if step then
      Step.requeue(task, step, failure, lost)
    else
      Worker.reject(member)
    end
  end
  Queue.each(function(agent, priority) Queue.recover(agent, priority, id) end)
  local record = redis.call('HMGET', K('worker', id), 'name', 'agents')
  for agent in string.gmatch(record[2] or '', '%S+') do
    redis.call('SREM', K('serving', agent), id)
    for _, priority in ipairs(PRIORITIES) do redis.call('SADD', K('sweep'), agent .. ':' .. priority) end
  end
  if record[1] and redis.call('HGET', K('names'), record[1]) == id then redis.call('HDEL', K('names'), record[1]) end
  redis.call('ZREM', K('workers'), id)
  redis.call('SREM', K('busy'), id)
  redis.call('DEL', K('worker', id), K('held', id))
  return #members
end

function Worker.reclaim(id)
  return Worker.remove(id, LOST, true)
end
