-- begin_effect: (effect) none | failed -> intended; intended by an earlier attempt -> unknown
-- An attempt is about to do something that must not happen twice. `nonce` tells a repeated call from a second one.
-- Keys: task, held, effects. Arguments: now, worker, task:number:attempt, key, nonce, most effects a task may have.
-- Reply: {'go'} do it | {'done', attempt, result} it happened | {'unknown', attempt} nobody knows |
--   {'stale'} the attempt is over, or its task stops | {'full'} too many effects. Events: none.

local function begin_effect(keys, args)
  begin(keys, args)
  local task, step = Worker.holding(args[3])
  if not step or step.worker ~= args[2] or task.state == 'cancelling' then return { 'stale' } end
  local key, nonce = args[4], args[5]
  local effect = Effect.load(task.id, step.number, key)
  if effect and effect.state == 'done' then return { 'done', effect.attempt, effect.result } end
  if effect and effect.state == 'intended' and effect.nonce == nonce then return { 'go' } end
  if effect and effect.state ~= 'failed' then
    Effect.store(task.id, step.number, key, 'unknown', effect.attempt, effect.nonce, '')
    return { 'unknown', effect.attempt }
  end
  if not effect and redis.call('HLEN', K('effects', task.id)) >= tonumber(args[6]) then return { 'full' } end
  Effect.store(task.id, step.number, key, 'intended', step.attempt, nonce, '')
  return { 'go' }
end

register('begin_effect', begin_effect, 'allow-oom')
