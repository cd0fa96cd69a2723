-- Effects that agents guard with `Context.once`, one record each: state, the attempt that set it, the nonce of that
-- call, and the result.
--
-- (none)   -> intended         begin_effect: the function is about to run
-- failed   -> intended         begin_effect: it did not happen, so it may be tried
-- intended -> unknown          begin_effect of a later attempt: the earlier one ended in between
-- intended -> done | failed | unknown    end_effect: the function returned, raised, or could not tell
-- unknown  -> done | failed    end_effect by a reconcile hook, or decide_effect by a person

function Effect.load(task, number, key)
  local packed = redis.call('HGET', K('effects', task), number .. ':' .. key)
  if not packed then return nil end
  local state, attempt, nonce, result = string.match(packed, '^(%a+) (%d+) (%S+) (.*)$')
  return { state = state, attempt = tonumber(attempt), nonce = nonce, result = result }
end

function Effect.store(task, number, key, state, attempt, nonce, result)
  redis.call('HSET', K('effects', task), number .. ':' .. key,
    string.format('%s %d %s ', state, attempt, nonce) .. result)
end
