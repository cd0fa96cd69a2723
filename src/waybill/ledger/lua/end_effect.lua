-- end_effect: (effect) intended -> done | failed | unknown; unknown -> done | failed
-- What became of an effect: by the attempt that intended it (same nonce), or, for an unknown one, by the reconcile hook
-- of any attempt. Saying it again changes nothing.
-- Keys: task, held, effects. Arguments: now, worker, task:number:attempt, key, nonce, state, result.
-- Reply: 1, or 0 if the attempt is stale or the effect was decided otherwise. Events: none.

local function end_effect(keys, args)
  begin(keys, args)
  local task, step = Worker.holding(args[3])
  if not step or step.worker ~= args[2] then return 0 end
  local key, nonce, state = args[4], args[5], args[6]
  local effect = Effect.load(task.id, step.number, key)
  if not effect then return 0 end
  if effect.nonce == nonce and effect.state == state then return 1 end
  local mine = effect.state == 'intended' and effect.nonce == nonce
  if not mine and (effect.state ~= 'unknown' or state == 'unknown') then return 0 end
  Effect.store(task.id, step.number, key, state, step.attempt, nonce, args[7])
  return 1
end

register('end_effect', end_effect, 'allow-oom')
