-- What was used: tokens and money, by the names that records have, and as JSON.

local USAGE = { 'input_tokens', 'output_tokens', 'cost', 'cached', 'reasoning', 'estimated' }
local USAGE_NAMES = { 'input_tokens', 'output_tokens', 'cost_microusd', 'cached_input_tokens', 'reasoning_tokens',
  'estimated_microusd' }

-- Numbers above this are cut: a double holds the sum of some thousand of them exactly.
local MOST_USED = 1000000000000000

-- Six numbers of the arguments; `next` gives one after the other.
function Usage.read(next)
  local used = {}
  for _, field in ipairs(USAGE) do used[field] = math.max(0, math.min(MOST_USED, tonumber(next()))) end
  return used
end

function Usage.none()
  local used = {}
  for _, field in ipairs(USAGE) do used[field] = 0 end
  return used
end

-- What the arguments tell as six numbers in one text, empty if nothing was used.
function Usage.parse(text)
  if text == '' then return { more = false } end
  local number = string.gmatch(text, '%S+')
  return Usage.read(number)
end

function Usage.is_none(used)
  if used.more == false then return true end
  for _, field in ipairs(USAGE) do
    if used[field] ~= 0 then return false end
  end
  return true
end

-- Adds to a task or a step.
function Usage.add(holder, used)
  for _, field in ipairs(USAGE) do holder[field] = holder[field] + used[field] end
end

function Usage.difference(new, old)
  local used = {}
  for _, field in ipairs(USAGE) do used[field] = new[field] - old[field] end
  return used
end

-- Only what is not zero: a reader takes the rest for zero, and a store keeps a twentieth more tasks.
function Usage.json(holder)
  -- A task without anything of its TAIL has used nothing.
  if holder.more == false then return ',"usage":{}' end
  local used = {}
  for i, field in ipairs(USAGE) do
    if holder[field] ~= 0 then used[#used + 1] = string.format('"%s":%d', USAGE_NAMES[i], holder[field]) end
  end
  return ',"usage":{' .. table.concat(used, ',') .. '}'
end
