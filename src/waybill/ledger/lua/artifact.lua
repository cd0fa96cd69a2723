-- What a model call was asked and answered, where the operator keeps that: text, cut at a cap, as long as its task lives.
-- A store that is nearly full keeps none.

function Artifact.keep(task, number, attempt, name, kind, text)
  if not text or text == '' or redis.call('HGET', K('pulse'), 'full') == '1' then return end
  redis.call('HSET', K('artifacts', task.id), number .. ':' .. attempt .. ':' .. name .. ':' .. kind, text)
end
