-- pass_call: (call) open -> settled | estimated, (the next call) none -> open
-- A call of the planner has ended, and it may make more with what it was given: what the call used takes its place, and
-- the rest stays reserved under the next number, with the permit, so that nobody else spends it in between.
-- Keys: task, events, calls, budget, usage, limits, limit, permits.
-- Arguments: now, task:0:round, call, nonce of the next call, model and endpoint that were asked, used (six numbers), ms
--   for which the provider asked for patience.
-- Reply: 1, or 0 if no more may be called: the round is over, or the call was taken for lost. Events: call_ended.

local function pass_call(keys, args)
  begin(keys, args)
  local id, round = string.match(args[2], '^([^:]+):0:(%d+)$')
  local task = id and Task.load(id)
  local record = task and Money.load(task, 0, tonumber(round), args[3])
  if not record then return 0 end
  round = tonumber(round)
  local following = integer(tonumber(args[3]) + 1)
  local passed = Money.load(task, 0, round, following)
  if record.state == 'settled' or passed then
    return passed and passed.nonce == args[4] and passed.state == 'open' and 1 or 0
  end
  local at = 6
  local used = Usage.read(function()
    at = at + 1
    return args[at]
  end)
  local goes_on = record.state == 'open' and Task.is_planned(task, round)
  local reserved_at, rest = record.endpoint, Usage.none()
  rest.cost = math.max(0, record.worst_cost - used.cost)
  if record.state == 'open' then
    local patience_ms, member = tonumber(args[13]), args[2] .. ':'
    Limit.learn(args[6], { throttled = patience_ms > 0, retry_after_ms = patience_ms })
    if goes_on then
      Limit.pass(member .. args[3], member .. following, reserved_at, used.input_tokens + used.output_tokens)
    else
      Limit.finish(member .. args[3], reserved_at, -used.input_tokens - used.output_tokens)
    end
  end
  record.model, record.endpoint = args[5], args[6]
  Money.settle(task, nil, record, used)
  if goes_on then Money.open(task, nil, 0, round, following, args[4], args[5], reserved_at, rest) end
  Queue.settle_rooms()
  flush()
  return goes_on and 1 or 0
end

register('pass_call', pass_call, 'allow-oom')
