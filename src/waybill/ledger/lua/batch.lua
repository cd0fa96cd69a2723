-- How many steps of an agent are claimed at once: what the slots that are free for them run within the target time, by the
-- agent's measured mean run time, between a least and a most. A worker takes a batch whole, also where it holds more steps than the worker has free slots, so the
-- size bounds how long a step waits behind others in a worker.
--
-- `pace` has three fields of an agent: `<agent>`, the mean in microseconds; `<agent>:offer`, what its code announced; and
-- `<agent>:set`, what the operator's policy says. The last two are "least most target_ms", 0 where nothing is said.

local SHARE_OF_A_STEP = 0.05
-- A step counts as so many targets at most: from a few on all are equally slow, and one of hours would be remembered for long.
local SLOWEST_TARGETS = 20

local function numbers(text)
  local least, most, target = string.match(text or '', '^(%d+) (%d+) (%d+)$')
  return tonumber(least) or 0, tonumber(most) or 0, tonumber(target) or 0
end

-- What an agent's worker of an older release has announced.
local function announced_most(agent)
  local offer = redis.call('HGET', K('agents'), agent)
  return offer and tonumber(string.match(offer, '"max_batch":(%d+)')) or 1
end

-- A worker tells of an agent, as JSON.
function Batch.announce(agent, offer)
  local function number(field) return tonumber(string.match(offer, '"' .. field .. '":(%d+)')) or 0 end
  redis.call('HSET', K('pace'), agent .. ':offer', string.format('%d %d %d', number('min_batch'), number('max_batch'),
    number('batch_target_ms')))
end

-- Mean, target and bounds of an agent, read once a call.
function Batch.terms(agent)
  local known = call.batches[agent]
  if known then return known end
  local v = redis.call('HMGET', K('pace'), agent, agent .. ':offer', agent .. ':set')
  local least, most, target_ms = numbers(v[2])
  local set_least, set_most, set_target_ms = numbers(v[3])
  if most == 0 then most = announced_most(agent) end
  if set_most > 0 then most = math.min(most, set_most) end
  if set_least > 0 then least = set_least end
  if set_target_ms > 0 then target_ms = set_target_ms end
  if target_ms == 0 then target_ms = policy('batch_target_ms') end
  known = { mean_us = tonumber(v[1] or ''), target_us = target_ms * 1000, most = most,
    least = math.max(1, math.min(least, most)) }
  call.batches[agent] = known
  return known
end

-- Most steps of a batch that so many free slots run, and why not more.
function Batch.limit(agent, free)
  local terms = Batch.terms(agent)
  if terms.least == terms.most then return terms.most, 'fixed' end
  if not terms.mean_us then return terms.least, 'unmeasured' end
  local fitting = math.floor(terms.target_us * free / math.max(terms.mean_us, 1))
  if fitting >= terms.most then return terms.most, 'maximum' end
  if fitting < terms.least then return terms.least, 'minimum' end
  return fitting, 'target'
end

-- An attempt ran so long.
function Batch.ran(agent, run_us)
  local terms = Batch.terms(agent)
  terms.sum_us = (terms.sum_us or 0) + math.min(run_us, SLOWEST_TARGETS * terms.target_us)
  terms.count = (terms.count or 0) + 1
end

-- The means, with what this call brought; each step counts the same, however many are settled at once.
function Batch.settle()
  for agent, terms in pairs(call.batches) do
    if terms.count then
      local now, kept = terms.sum_us / terms.count, (1 - SHARE_OF_A_STEP) ^ terms.count
      terms.mean_us = terms.mean_us and kept * terms.mean_us + (1 - kept) * now or now
      terms.count, terms.sum_us = nil, nil
      redis.call('HSET', K('pace'), agent, string.format('%.0f', terms.mean_us))
    end
  end
end
