-- answer_step: WAITING -> SUCCEEDED; for a step that waits for its budget to be raised: WAITING -> READY | FAILED
-- A person's answer to the question of a step: its output. The question after a budget is answered for all steps of the
-- task that ask it, by {"add_microusd": n}; with n 0 the step that is named fails.
-- Keys: task, events, waiting, ready, queue, timers, expiry, call.
-- Arguments: now, id, tenant and id of the request (may be empty), step number, answer (JSON).
-- Reply: {'ok', state after the call} | {'missing'} | {'reused'} | {'wrong', state} | {'garbled', most}.
--   'wrong' with the state of the step, 'missing' also without such a step, 'garbled' for what is no such sum.
-- Events: step_finished, step_ready, task_finished.

local MOST_ADDED = 1000000000000

-- The sum in an answer to the question after a budget, or nil.
local function sum_of(answer)
  local readable, given = pcall(cjson.decode, answer)
  local sum = readable and type(given) == 'table' and given.add_microusd
  if type(sum) ~= 'number' or sum < 0 or sum > MOST_ADDED or sum ~= math.floor(sum) then return nil end
  return sum
end

local function answer_step(keys, args)
  begin(keys, args)
  local task, reply, what = asked(args, 'answer', ':' .. args[5] .. ' ' .. redis.sha1hex(args[6]))
  if reply then return reply end
  local step = Step.load(task, tonumber(args[5]))
  if not step then return { 'missing' } end
  if step.state ~= WAITING then return { 'wrong', STATE_NAMES[step.state] } end
  if step.broke == 1 then
    local more = sum_of(args[6])
    if not more then return { 'garbled', MOST_ADDED } end
    if more > 0 then Step.raise_budget(task, more) else Step.refuse_budget(task, step) end
  else
    Step.answer(task, step, args[6])
  end
  return answered(args, task, what)
end

register('answer_step', answer_step, 'allow-oom')
