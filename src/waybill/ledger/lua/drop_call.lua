-- drop_call: (call) open -> none
-- A call was not made: what was reserved for it, and its permit, are given back, and nothing is told of it.
-- Keys: task, calls, budget, usage, limits, limit, permits, line, lined. Arguments: now, task:number:attempt, call.
-- Reply: 1, or 0 if it is not open. Events: none.

local function drop_call(keys, args)
  begin(keys, args)
  local id, number, attempt = string.match(args[2], '^([^:]+):(%d+):(%d+)$')
  local task = id and Task.load(id)
  if not task then return 0 end
  number, attempt = tonumber(number), tonumber(attempt)
  local step = number > 0 and Step.load(task, number) or nil
  local record = (number == 0 or step) and Money.load(task, number, attempt, args[3])
  if not record or record.state ~= 'open' then return 0 end
  Limit.finish(args[2] .. ':' .. args[3], record.endpoint, record.worst_input + record.worst_output)
  Money.drop(task, step, record)
  Queue.settle_rooms()
  flush()
  return 1
end

register('drop_call', drop_call, 'allow-oom')
