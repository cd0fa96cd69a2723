-- decide_effect: (effect) unknown -> done | failed
-- A person says what became of an effect. One that an ended attempt intended counts as unknown.
-- Keys: task, effects, call.
-- Arguments: now, id, tenant and id of the request (may be empty), step number, key, state, result.
-- Reply: {'ok', state after the call} | {'missing'} | {'reused'} | {'wrong', state}.
--   'wrong' with the state of the effect, 'missing' also without such an effect. Events: none.

local function decide_effect(keys, args)
  begin(keys, args)
  local number, key, state, result = tonumber(args[5]), args[6], args[7], args[8]
  local task, reply, what = asked(args, 'decide', ':' .. number .. ' ' .. state .. ' ' .. redis.sha1hex(key .. result))
  if reply then return reply end
  local step, effect = Step.load(task, number), Effect.load(task.id, number, key)
  if not step or not effect then return { 'missing' } end
  local at_it = step.state == RUNNING and step.attempt == effect.attempt
  if effect.state ~= 'unknown' and (effect.state ~= 'intended' or at_it) then return { 'wrong', effect.state } end
  Effect.store(task.id, number, key, state, effect.attempt, effect.nonce, result)
  return answered(args, task, what)
end

register('decide_effect', decide_effect, 'allow-oom')
