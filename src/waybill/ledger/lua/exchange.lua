-- exchange: RUNNING -> SUCCEEDED | FAILED | BACKOFF | CANCELLED | READY (settlements); READY -> RUNNING (claims);
--   READY -> FAILED (what cannot be decoded)
-- A worker's one round trip: settles what it has finished, unblocks and queues what became ready, and claims its
-- next steps: first of the entries it has read, then from its agents' queues and rooms by priority, until no slot is free.
-- A seq at or below the stored one changes nothing; grants made after `seen` are delivered again.
-- Keys: worker, workers, busy, held, task, events, waiting, ready, queue, timers, expiry, pace.
-- Arguments: now, random, worker, seq, seen, free slots, agents a, a names, entries e, e times: agent, priority,
--   entry id, body; settlements s, s times: task, number, attempt, outcome, output, failure, usage (six numbers in one
--   text, or empty), run ms with decimals, least ms before another attempt, 1 with a patch that follows (`Patch.read`) or 0.
-- Reply: {'unknown'} if the worker is not registered, else {'ok', stale settlements, grants, batches}; a batch is
--   {agent, why it holds no more, steps started}, a grant
--   {task, number, attempt, step, agent, input, run timeout, tenant, trace, wait ms, suspect}, and for a step that refers
--   to others, or whose input is too large for the reply, also reference names, outputs and references: with outputs 0
--   the caller reads them and the input.
-- Events: step_started, step_retried, step_finished, step_ready, step_waiting, task_cancelling, task_finished.

local INLINE_BYTES = 262144
local HANDED_BACK = '{"reason":"HANDED_BACK","message":"the worker handed the step back; it runs again"}'

local NO_ROOM = '{"reason":"STORE_FULL","message":"the store has no room for the steps that the attempt adds"}'

-- With a patch that its plan does not allow it fails for good; in a full store it may succeed later.
local function succeed(task, step, output, spent, random, patch)
  if not patch or task.state == 'cancelling' then return Step.succeed(task, step, output, spent) end
  if Patch.no_room() then return Step.fail(task, step, NO_ROOM, false, spent, random) end
  local defect = Patch.defect(task, patch, step)
  if not defect then return Step.succeed(task, step, output, spent, patch) end
  Step.fail(task, step, '{"reason":"PATCH_INVALID","message":' .. cjson.encode(defect) .. '}', true, spent)
end

local function settle(task, step, outcome, output, failure, spent, random, retry_after_ms, patch)
  if step.broken then
    Step.unreadable(task, step, failure ~= '' and failure or UNDECODABLE, spent)
  elseif outcome == 'succeeded' then
    succeed(task, step, output, spent, random, patch)
  elseif outcome == 'cancelled' and task.state == 'cancelling' then
    Step.cancelled(task, step, spent)
  elseif outcome == 'handed_back' or outcome == 'cancelled' then
    Step.requeue(task, step, HANDED_BACK, false, spent)
  elseif outcome == 'over_budget' then
    Step.over_budget(task, step, failure, spent)
  elseif outcome == 'died' then
    Step.died(task, step, failure, spent)
  elseif outcome == 'undecodable' then
    Step.unreadable(task, step, failure, spent)
  else
    Step.fail(task, step, failure, outcome == 'failed_finally', spent, random, retry_after_ms)
  end
end

-- Attempts whose time tells what the next one of the agent will take.
local TELLING = { succeeded = true, failed = true, failed_finally = true }

local function settle_all(args, at, worker, random, stale)
  local count = tonumber(args[at])
  at = at + 1
  local function next()
    at = at + 1
    return args[at - 1]
  end
  for _ = 1, count do
    local id, number, attempt, outcome = args[at], tonumber(args[at + 1]), tonumber(args[at + 2]), args[at + 3]
    local output, failure, spent = args[at + 4], args[at + 5], Usage.parse(args[at + 6])
    local retry_after_ms, has_patch = tonumber(args[at + 8]), args[at + 9] == '1'
    local run_ms = tonumber(args[at + 7])
    spent.run_ms = math.max(0, math.floor(run_ms + 0.5))
    at = at + 10
    local patch = has_patch and Patch.read(next) or nil
    local task, step = Worker.running(id, number, attempt)
    if not step or step.worker ~= worker then
      local member = id .. ':' .. number .. ':' .. attempt
      stale[#stale + 1] = member
      Worker.reject(member)
    else
      if TELLING[outcome] then Batch.ran(step.spec.agent, run_ms * 1000) end
      settle(task, step, outcome, output, failure, spent, random, retry_after_ms, patch)
    end
  end
  Batch.settle()
end

local function granted_after(worker, seen, claimed)
  for _, member in ipairs(redis.call('ZRANGE', K('held', worker), 0, -1)) do
    local task, step = Worker.holding(member)
    if step and step.granted > seen then claimed[#claimed + 1] = { task = task, step = step } end
  end
end

-- What the references of a step stand for: fields of the task, their names, and the steps they belong to.
local function referred(task, step)
  local fields, names, roots, names_of = {}, {}, {}, Step.names(task, step)
  for _, number in ipairs(step.spec.references) do
    if number == 0 then
      fields[#fields + 1], fields[#fields + 2] = 'goal', 'input'
      names[#names + 1], names[#names + 2] = 'task.goal', 'task.input'
      roots[#roots + 1] = 0
    else
      for _, name in ipairs(names_of(number)) do
        fields[#fields + 1], names[#names + 1], roots[#roots + 1] = 'out:' .. number, name, number
      end
    end
  end
  return fields, names, roots
end

-- The reply for one claimed step; `room` is what the reply may still hold, in bytes.
local function grant(held, room)
  local task, step, input, trace, bytes = held.task, held.step, held.input, held.trace, 0
  local spec = step.spec
  if trace == nil then trace = Task.text(task, 'trace') end
  local row = { task.id, step.number, step.attempt, spec.name, spec.agent, '', spec.run_timeout_ms, task.tenant,
    trace, step.last_wait, step.suspect }
  if input and not spec.references[1] then
    bytes = #input
    if bytes > room then
      row[12], row[13], row[14] = {}, 0, {}
      return row, 0
    end
    row[6] = input
    return row, bytes
  end
  local fields, names, roots = referred(task, step)
  fields[#fields + 1] = 'in:' .. step.number
  local outputs = HMGET_all(call.task .. task.id, fields)
  for i = 1, #fields do
    outputs[i] = outputs[i] or ''
    bytes = bytes + #outputs[i]
  end
  input = table.remove(outputs)
  if bytes <= room and #names == 0 then
    row[6] = input
  elseif bytes <= room then
    row[6], row[12], row[13], row[14] = input, names, outputs, roots
  else
    row[12], row[13], row[14] = names, 0, roots
  end
  return row, bytes <= room and bytes or 0
end

-- Settles, then claims. Returns the stale settlements, and the batches that were claimed.
local function apply(args, at, worker, seq, free, claimed)
  local agents, entries, stale = {}, {}, {}
  for i = 1, tonumber(args[at]) do agents[i] = args[at + i] end
  at = at + #agents + 1
  for i = 1, tonumber(args[at]) do
    entries[i] = { args[at + 1], args[at + 2], args[at + 3], args[at + 4] }
    at = at + 4
  end
  settle_all(args, at + 1, worker, tonumber(args[2]), stale)
  Queue.seat()
  local _, batches = Claim.make(worker, seq, free, entries, agents, claimed)
  Queue.settle_rooms()
  return stale, batches
end

local function exchange(keys, args)
  begin(keys, args)
  local worker, seq, seen, free = args[3], tonumber(args[4]), tonumber(args[5]), tonumber(args[6])
  local stored = tonumber(redis.call('HGET', K('worker', worker), 'seq') or '')
  if not stored or not Worker.beat(worker) then return { 'unknown' } end
  local stale, claimed, batches = {}, {}, nil
  if seen < seq - 1 or seq <= stored then granted_after(worker, seen, claimed) end
  if seq > stored then
    stale, batches = apply(args, 7, worker, seq, free, claimed)
    -- Only now: a call that failed half-way must not look applied when it is repeated.
    redis.call('HSET', K('worker', worker), 'seq', integer(seq))
    flush()
  end
  local grants, room = {}, INLINE_BYTES
  for i = 1, #claimed do
    local row, bytes = grant(claimed[i], room)
    grants[i], room = row, room - bytes
  end
  return { 'ok', stale, grants, batches or {} }
end

register('exchange', exchange, 'allow-oom')
