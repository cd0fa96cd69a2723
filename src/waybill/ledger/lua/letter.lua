-- Dead letters: steps that were given up because they kill their process or cannot be decoded. A letter lives as long
-- as its task, unless it is dropped or the task is retried before.

local function letter_id(task, number)
  return task.id .. '.' .. number
end

function Letter.write(task, step, failure)
  local id, spec = letter_id(task, step.number), Step.spec(step)
  redis.call('ZADD', K('dead', task.tenant), call.now, id)
  redis.call('HSET', K('letters', task.tenant), id, string.format(
    '{"id":"%s","task":"%s","number":%d,"step":"%s","agent":"%s","failure":%s,"deaths":%d,"attempt":%d,"created_ms":%d}',
    id, task.id, step.number, spec.name, spec.agent, failure, step.deaths, step.attempt, call.now))
  task.letters, task.changed = (Task.text(task, 'letters') or '') .. ' ' .. step.number, true
end

-- Returns whether there was one.
function Letter.drop(tenant, id)
  redis.call('ZREM', K('dead', tenant), id)
  return redis.call('HDEL', K('letters', tenant), id) == 1
end

-- Drops all letters of a task; `numbers` is what `write` noted in its record.
function Letter.drop_all(tenant, task, numbers)
  for number in string.gmatch(numbers or '', '%d+') do Letter.drop(tenant, task .. '.' .. number) end
end
