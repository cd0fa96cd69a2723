-- end_call: (call) open -> settled | estimated; estimated -> settled | estimated
-- A model call has ended: what it used takes the place of what was reserved or estimated for it. That is accepted however
-- late, also of an attempt that is over: the money is spent. Saying it again changes nothing.
-- Keys: task, events, calls, artifacts, budget, usage, limits, limit, permits, line, lined.
-- Arguments: now, task:number:attempt, call, guessed 0 or 1 (the provider gave no account), used (six numbers),
--   throttled 0 or 1, retry after in ms, then what the provider told of requests and of tokens: limit a minute, what
--   remains, ms until its reset, each '' if it told nothing; response to keep or ''.
-- Reply: 1, or 0 if the call or its task is not known. Events: call_ended.

local function end_call(keys, args)
  begin(keys, args)
  local id, number, attempt = string.match(args[2], '^([^:]+):(%d+):(%d+)$')
  local task = id and Task.load(id)
  if not task then return 0 end
  number, attempt = tonumber(number), tonumber(attempt)
  local step = number > 0 and Step.load(task, number) or nil
  local record = (number == 0 or step) and Money.load(task, number, attempt, args[3])
  if not record then return 0 end
  if record.state == 'settled' then return 1 end
  local at = 4
  local function next()
    at = at + 1
    return args[at]
  end
  local used = Usage.read(next)
  local told = { throttled = next() == '1', retry_after_ms = tonumber(next()), requests = tonumber(next()),
    remaining_requests = tonumber(next()), reset_requests_ms = tonumber(next()), tokens = tonumber(next()),
    remaining_tokens = tonumber(next()), reset_tokens_ms = tonumber(next()) }
  if record.state == 'open' then
    local unused = record.worst_input + record.worst_output - used.input_tokens - used.output_tokens
    Limit.learn(record.endpoint, told)
    Limit.finish(args[2] .. ':' .. args[3], record.endpoint, unused)
  end
  Money.settle(task, step, record, used, args[4] == '1')
  Artifact.keep(task, number, attempt, args[3], 'response', next())
  Queue.settle_rooms()
  flush()
  return 1
end

register('end_call', end_call, 'allow-oom')
