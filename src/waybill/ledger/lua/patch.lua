-- Changes of a plan that runs. A patch only adds: what runs or has ended stays as it is, and what has not started can be
-- dropped for good. Steps of the plan are their numbers; new ones are -1, -2, ... and get the next numbers.

local MOST_STEPS = 10000
local MOST_ADDED = 1000

local function translated(number, base)
  return number < 0 and base - number or number
end

local function translate_all(numbers, base)
  for i, number in ipairs(numbers) do numbers[i] = translated(number, base) end
end

-- A patch from the arguments: reason, steps n, n times packed spec and input, dropped d, d numbers, substitutes s, s times
-- old and new step.
function Patch.read(next)
  local patch = { reason = next(), steps = {}, drop = {}, substitutes = {} }
  for i = 1, tonumber(next()) do
    local packed, input = next(), next()
    patch.steps[i] = { spec = cmsgpack.unpack(packed), input = input }
  end
  for i = 1, tonumber(next()) do patch.drop[i] = tonumber(next()) end
  for i = 1, tonumber(next()) do patch.substitutes[i] = { tonumber(next()), tonumber(next()) } end
  return patch
end

-- What the task's author allows, with its defaults.
function Patch.policy(task)
  local readable, found = pcall(cjson.decode, redis.call('HGET', K('task', task.id), 'policy') or '')
  return readable and type(found) == 'table' and found or {}
end

local function size_defect(task, patch)
  local count, most = #patch.steps, Patch.policy(task).max_added_steps or MOST_ADDED
  if task.steps + count > MOST_STEPS then
    return 'the plan would have ' .. task.steps + count .. ' steps, and at most ' .. MOST_STEPS .. ' are allowed'
  end
  if task.added + count > most then
    return 'the task would have ' .. task.added + count .. ' added steps, and its policy allows ' .. most
  end
end

local function name_defect(task, patch)
  local taken = {}
  for number = 1, task.steps do taken[Step.spec(task.step[number]).name] = true end
  for _, new in ipairs(patch.steps) do
    local name = new.spec[1]
    if taken[name] then return 'the plan has a step ' .. name .. ' already' end
    taken[name] = true
  end
end

local function drop_defect(task, patch)
  local dropped = {}
  for _, number in ipairs(patch.drop) do
    local step = task.step[number]
    if not step then return 'there is no step number ' .. number end
    local name = Step.spec(step).name
    if step.state ~= PENDING and step.state ~= READY and step.state ~= BACKOFF then
      return 'step ' .. name .. ' cannot be dropped: it is ' .. STATE_NAMES[step.state]
    end
    if dropped[number] then return 'step ' .. name .. ' is dropped twice' end
    dropped[number] = true
  end
  return nil, dropped
end

-- Every number from 1 on that may be depended on.
local function edge_defect(task, patch, dropped)
  for _, new in ipairs(patch.steps) do
    for _, number in ipairs(new.spec[9]) do
      local step = number > 0 and task.step[number]
      if number > 0 and not step or number < -#patch.steps or number == 0 then
        return 'step ' .. new.spec[1] .. ' depends on a step that does not exist'
      end
      local lost = step and (dropped[number] or step.dropped == 1 or step.state == FAILED or step.state == CANCELLED)
      if lost then
        return 'step ' .. new.spec[1] .. ' depends on ' .. Step.spec(step).name .. ', which will never succeed'
      end
    end
  end
end

local function substitute_defect(task, patch, dropped, asker)
  local seen = {}
  for _, pair in ipairs(patch.substitutes) do
    local old = task.step[pair[1]]
    if not old or pair[2] >= 0 or pair[2] < -#patch.steps then return 'a substitute names a step that does not exist' end
    local name = Step.spec(old).name
    if seen[pair[1]] then return 'step ' .. name .. ' has two substitutes' end
    seen[pair[1]] = true
    if not dropped[pair[1]] and old ~= asker and (old.state ~= FAILED or old.dropped == 1) then
      return 'step ' .. name .. ' cannot be replaced: it is ' .. STATE_NAMES[old.state]
    end
  end
end

-- What comes after the steps that get substitutes, in the plan as it stands.
local function downstream(task, patch)
  local reached, found = {}, {}
  for _, pair in ipairs(patch.substitutes) do reached[#reached + 1] = pair[1] end
  while #reached > 0 do
    for _, number in ipairs(Step.dependents(task, task.step[table.remove(reached)])) do
      if not found[number] then
        found[number] = true
        reached[#reached + 1] = number
      end
    end
  end
  return found
end

-- A substitute must not need, through other new steps, what is to wait for it.
local function cycle_defect(task, patch)
  if #patch.substitutes == 0 then return nil end
  local later, seen, reached = downstream(task, patch), {}, {}
  for _, pair in ipairs(patch.substitutes) do reached[#reached + 1] = -pair[2] end
  while #reached > 0 do
    local at = table.remove(reached)
    if not seen[at] then
      seen[at] = true
      for _, number in ipairs(patch.steps[at].spec[9]) do
        if number > 0 and later[number] then
          return 'step ' .. patch.steps[at].spec[1] .. ' depends on ' .. Step.spec(task.step[number]).name
            .. ', which would wait for it'
        end
        if number < 0 then reached[#reached + 1] = -number end
      end
    end
  end
end

-- New steps among themselves: each round takes away those whose new dependencies are all taken away (Kahn, 1962).
local function new_cycle_defect(patch)
  local missing, followers, free = {}, {}, {}
  for i, new in ipairs(patch.steps) do
    missing[i] = 0
    for _, number in ipairs(new.spec[9]) do
      if number < 0 then
        missing[i] = missing[i] + 1
        followers[-number] = followers[-number] or {}
        table.insert(followers[-number], i)
      end
    end
    if missing[i] == 0 then free[#free + 1] = i end
  end
  local taken = 0
  while #free > 0 do
    taken = taken + 1
    for _, i in ipairs(followers[table.remove(free)] or {}) do
      missing[i] = missing[i] - 1
      if missing[i] == 0 then free[#free + 1] = i end
    end
  end
  if taken < #patch.steps then return 'the new steps depend on each other in a cycle' end
end

-- Why the patch cannot be applied, or nil. `asker` is the step whose agent adds it.
function Patch.defect(task, patch, asker)
  Step.load_all(task)
  local defect = size_defect(task, patch) or name_defect(task, patch)
  if defect then return defect end
  local wrong, dropped = drop_defect(task, patch)
  return wrong or edge_defect(task, patch, dropped) or substitute_defect(task, patch, dropped, asker)
    or new_cycle_defect(patch) or cycle_defect(task, patch)
end

local function respecified(step)
  step.respecified, step.changed = true, true
end

-- How many of its dependencies a new step still waits for, and whether one was skipped.
local function standing(task, spec, base)
  local blockers, skipped = 0, 0
  for _, number in ipairs(spec[9]) do
    local needed = number <= base and task.step[number]
    local ended = needed and needed.parked == 0 and (needed.state == SUCCEEDED or needed.state == SKIPPED)
    if needed and needed.state == SKIPPED then skipped = 1 end
    if not ended then blockers = blockers + 1 end
  end
  return blockers, skipped
end

local function add_steps(task, patch, asker)
  local base, values = task.steps, {}
  for i, new in ipairs(patch.steps) do
    local spec = new.spec
    translate_all(spec[9], base)
    translate_all(spec[10], base)
    for _, condition in ipairs(spec[15] or {}) do condition[2] = translated(condition[2], base) end
  end
  task.steps, task.open, task.added = base + #patch.steps, task.open + #patch.steps, task.added + #patch.steps
  for i, new in ipairs(patch.steps) do
    local blockers, skipped = standing(task, new.spec, base)
    -- The asker's dependents are let go once the patch is applied.
    for _, number in ipairs(new.spec[9]) do
      if asker and number == asker.number and asker.parked == 0 then blockers = blockers + 1 end
    end
    local step = Step.added(base + i, new.spec, blockers, task.revision)
    step.skipped = skipped
    task.step[base + i] = step
    values[#values + 1] = 'in:' .. base + i
    values[#values + 1] = new.input
  end
  for i, new in ipairs(patch.steps) do
    for _, number in ipairs(new.spec[9]) do
      local needed = task.step[number]
      table.insert(Step.spec(needed).dependents, base + i)
      respecified(needed)
    end
  end
  in_chunks('HSET', K('task', task.id), values, 2)
end

local function replaced(numbers, old, new)
  local found, has = {}, false
  for _, number in ipairs(numbers) do
    local number_now = number == old and new or number
    if number_now ~= new or not has then found[#found + 1] = number_now end
    has = has or number_now == new
  end
  return found
end

local function contains(numbers, wanted)
  for _, number in ipairs(numbers) do
    if number == wanted then return true end
  end
  return false
end

-- What waits for `old` waits for `new` from now on, and knows its output by the old one's name.
local function substitute(task, old, new)
  local name, kept = Step.spec(old).name, {}
  for _, number in ipairs(Step.spec(old).dependents) do
    local dependent = task.step[number]
    if dependent.state ~= PENDING or dependent.dropped == 1 or dependent.added_by == task.revision then
      kept[#kept + 1] = number
    else
      local spec = Step.spec(dependent)
      local alias = Step.name_for(task, dependent, old.number)
      spec.dependencies = replaced(spec.dependencies, old.number, new.number)
      spec.references = replaced(spec.references, old.number, new.number)
      for _, condition in ipairs(spec.conditions) do
        if condition[2] == old.number then condition[2] = new.number end
      end
      spec.aliases[#spec.aliases + 1] = { new.number, alias }
      if not contains(Step.spec(new).dependents, number) then table.insert(Step.spec(new).dependents, number) end
      respecified(dependent)
    end
  end
  Step.spec(old).dependents = kept
  respecified(old)
  respecified(new)
end

local function numbers_json(numbers)
  return '[' .. table.concat(numbers, ',') .. ']'
end

-- The steps whose outputs the task returns, and the agents that it has.
local function keep_account(task, patch, base, asker)
  local v = redis.call('HMGET', K('task', task.id), 'sinks', 'agents')
  local successors, sinks, agents, known = {}, {}, cjson.decode(v[2] or '[]'), {}
  for _, pair in ipairs(patch.substitutes) do successors[pair[1]] = translated(pair[2], base) end
  for _, number in ipairs(cjson.decode(v[1] or '[]')) do
    local sink = successors[number] or number
    if task.step[sink].dropped == 0 or successors[number] then sinks[#sinks + 1] = sink end
  end
  for i = base + 1, task.steps do
    local spec = Step.spec(task.step[i])
    if not asker and #spec.dependents == 0 and not contains(sinks, i) then sinks[#sinks + 1] = i end
  end
  for _, agent in ipairs(agents) do known[agent] = true end
  local names = {}
  for i = base + 1, task.steps do
    local agent = Step.spec(task.step[i]).agent
    if agent ~= '' then known[agent] = true end
  end
  for agent in pairs(known) do names[#names + 1] = '"' .. agent .. '"' end
  table.sort(names)
  redis.call('HSET', K('task', task.id), 'sinks', numbers_json(sinks), 'agents', '[' .. table.concat(names, ',') .. ']')
end

-- Applies a patch that has no defect. `asker` is the step whose agent adds it, which has just succeeded and has not let
-- its dependents go yet; `failed` are the steps whose failure it makes up for. Events: plan_revised, step_finished,
-- step_ready.
function Patch.apply(task, patch, asker, failed)
  local base = task.steps
  task.revision, task.changed = task.revision + 1, true
  Task.event(task, 'plan_revised', string.format('%s,"revision":%d,"step_count":%d,"message":%s',
    asker and string.format(',"step":"%s","attempt":%d', Step.spec(asker).name, asker.attempt) or '', task.revision,
    base + #patch.steps, cjson.encode(patch.reason)))
  add_steps(task, patch, asker)
  for _, pair in ipairs(patch.substitutes) do
    substitute(task, task.step[pair[1]], task.step[translated(pair[2], base)])
  end
  for _, number in ipairs(patch.drop) do Step.drop(task, task.step[number]) end
  for _, number in ipairs(failed or {}) do task.step[number].dropped, task.step[number].changed = 1, true end
  for _, number in ipairs(patch.drop) do Step.drop_dependents(task, task.step[number]) end
  for _, number in ipairs(failed or {}) do Step.drop_dependents(task, task.step[number]) end
  keep_account(task, patch, base, asker)
  for number = base + 1, task.steps do
    local step = task.step[number]
    if step.state == PENDING and step.blockers == 0 and Step.arrive(task, step) then Step.unblock(task, step) end
  end
end
