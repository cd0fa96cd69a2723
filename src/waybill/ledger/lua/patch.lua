-- Changes of a plan that runs. A patch only adds: what runs or has ended stays as it is, and what has not started can be
-- dropped for good. Steps of the plan are their numbers; new ones are -1, -2, ... and get the next numbers.
--
-- Whoever made the patch has checked it against the plan as it was then. What may have changed since is checked again here:
-- names of steps added meanwhile, states, limits. Only what a patch touches is loaded, so that steps which add to a large
-- plan one after the other do not read all of it each time.

local MOST_STEPS, MOST_ADDED, MOST_ADDED_BYTES = 10000, 1000, 4194304

-- A patch from the arguments: reason, steps of the plan that its maker knew, steps n, n times packed spec and input,
-- dropped d, d numbers, substitutes s, s times old and new step.
function Patch.read(next)
  local patch = { reason = next(), known = tonumber(next()), steps = {}, drop = {}, substitutes = {}, bytes = 0 }
  for i = 1, tonumber(next()) do
    local packed, input = next(), next()
    patch.steps[i] = { spec = cmsgpack.unpack(packed), input = input }
    patch.bytes = patch.bytes + #input
  end
  for i = 1, tonumber(next()) do patch.drop[i] = tonumber(next()) end
  for i = 1, tonumber(next()) do patch.substitutes[i] = { tonumber(next()), tonumber(next()) } end
  return patch
end

-- What the task's author allows, without defaults.
function Patch.policy(task)
  local readable, found = pcall(cjson.decode, redis.call('HGET', K('task', task.id), 'policy') or '')
  return readable and type(found) == 'table' and found or {}
end

-- Whether the store is too full for plans to grow.
function Patch.no_room()
  return redis.call('HGET', K('pulse'), 'full') == '1'
end

local function size_defect(task, patch)
  local count, most = #patch.steps, Patch.policy(task).max_added_steps or MOST_ADDED
  if task.steps + count > MOST_STEPS then
    return 'the plan would have ' .. task.steps + count .. ' steps, and at most ' .. MOST_STEPS .. ' are allowed'
  end
  if task.added + count > most then
    return 'the task would have ' .. task.added + count .. ' added steps, and its policy allows ' .. most
  end
  local bytes = task.added_bytes + patch.bytes
  if bytes > MOST_ADDED_BYTES then
    return 'the inputs of added steps would have ' .. bytes .. ' bytes in all, and at most ' .. MOST_ADDED_BYTES
      .. ' are allowed'
  end
end

local function name_defect(task, patch)
  local taken = {}
  for number = patch.known + 1, task.steps do taken[Step.spec(Step.load(task, number)).name] = true end
  for _, new in ipairs(patch.steps) do
    local name = new.spec[1]
    if taken[name] then return 'the plan has a step ' .. name .. ' already' end
    taken[name] = true
  end
end

local function drop_defect(task, patch)
  local dropped = {}
  for _, number in ipairs(patch.drop) do
    local step = Step.load(task, number)
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

local function edge_defect(task, patch, dropped)
  for _, new in ipairs(patch.steps) do
    for _, number in ipairs(new.spec[9]) do
      local step = number > 0 and Step.load(task, number)
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

-- An agent replaces its own step, and what it drops; the planner also what has failed.
local function substitute_defect(task, patch, dropped, asker)
  local seen = {}
  for _, pair in ipairs(patch.substitutes) do
    local old = Step.load(task, pair[1])
    if not old or pair[2] >= 0 or pair[2] < -#patch.steps then return 'a substitute names a step that does not exist' end
    local name = Step.spec(old).name
    if seen[pair[1]] then return 'step ' .. name .. ' has two substitutes' end
    seen[pair[1]] = true
    local failed = not asker and old.state == FAILED and old.dropped == 0
    if not dropped[pair[1]] and old ~= asker and not failed then
      return 'step ' .. name .. ' cannot be replaced: it is ' .. STATE_NAMES[old.state]
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

-- Which new steps need each step, of the plan or new: new ones have numbers below 0. What has succeeded waits for nothing.
-- Also whether any of the plan is needed.
local function needed_by_new(task, patch)
  local found, any = {}, false
  for i, new in ipairs(patch.steps) do
    for _, number in ipairs(new.spec[9]) do
      if number < 0 or Step.load(task, number).state ~= SUCCEEDED then
        found[number] = found[number] or {}
        table.insert(found[number], -i)
        any = any or number > 0
      end
    end
  end
  return found, any
end

-- What waits for each step, once the patch is applied, as far as it is reached from the substitutes.
local function followers_of(task, patch, needed_by)
  local is_replaced, places_taken, reached, followers = {}, {}, {}, {}
  for _, pair in ipairs(patch.substitutes) do
    is_replaced[pair[1]] = true
    places_taken[pair[2]] = places_taken[pair[2]] or {}
    table.insert(places_taken[pair[2]], pair[1])
    reached[#reached + 1] = pair[2]
  end
  while #reached > 0 do
    local at = table.remove(reached)
    if not followers[at] then
      local found, olds = {}, places_taken[at] or {}
      if at > 0 and not is_replaced[at] then olds = { at } end
      for _, number in ipairs(needed_by[at] or {}) do found[#found + 1] = number end
      for _, old in ipairs(olds) do
        for _, number in ipairs(Step.dependents(task, Step.load(task, old))) do found[#found + 1] = number end
      end
      followers[at] = found
      for _, number in ipairs(found) do reached[#reached + 1] = number end
    end
  end
  return followers
end

-- The steps that wait for each other: what is left when those are taken away, again and again, that wait for none (Kahn).
local function waiting_for_each_other(followers)
  local missing, free = {}, {}
  for at, found in pairs(followers) do
    missing[at] = missing[at] or 0
    for _, number in ipairs(found) do missing[number] = (missing[number] or 0) + 1 end
  end
  for at, count in pairs(missing) do
    if count == 0 then free[#free + 1] = at end
  end
  while #free > 0 do
    local at = table.remove(free)
    missing[at] = nil
    for _, number in ipairs(followers[at]) do
      missing[number] = missing[number] - 1
      if missing[number] == 0 then free[#free + 1] = number end
    end
  end
  return missing
end

-- A substitute must not need what is to wait for it, be it through other steps and their substitutes.
local function cycle_defect(task, patch)
  if #patch.substitutes == 0 then return nil end
  local needed_by, any = needed_by_new(task, patch)
  if not any then return nil end
  local stuck = waiting_for_each_other(followers_of(task, patch, needed_by))
  if not next(stuck) then return nil end
  for i, new in ipairs(patch.steps) do
    for _, number in ipairs(new.spec[9]) do
      if stuck[-i] and number > 0 and stuck[number] then
        return 'step ' .. new.spec[1] .. ' depends on ' .. Step.spec(Step.load(task, number)).name
          .. ', which would wait for it'
      end
    end
  end
  return 'the patch makes steps wait for each other'
end

-- Why the patch cannot be applied, or nil. `asker` is the step whose agent adds it.
function Patch.defect(task, patch, asker)
  local defect = size_defect(task, patch) or name_defect(task, patch)
  if defect then return defect end
  local wrong, dropped = drop_defect(task, patch)
  return wrong or edge_defect(task, patch, dropped) or substitute_defect(task, patch, dropped, asker)
    or new_cycle_defect(patch) or cycle_defect(task, patch)
end

-- The step's edges have changed. One whose spec cannot be read is left as it is: its neighbours know its edges.
local function respecified(step)
  if not step.illegible then step.respecified = true end
end

-- How many of its dependencies a new step waits for, and whether one was skipped. What its task withholds while it is
-- paused, and the step whose agent adds it, let their dependents go later.
local function standing(task, spec, base, asker)
  local blockers, skipped = 0, 0
  for _, number in ipairs(spec[9]) do
    local needed = number <= base and Step.load(task, number)
    local ended = needed and (needed.state == SUCCEEDED or needed.state == SKIPPED)
    if needed and needed.state == SKIPPED then skipped = 1 end
    if not ended or needed.parked == 1 or needed == asker then blockers = blockers + 1 end
  end
  return blockers, skipped
end

local function translated(number, base)
  return number < 0 and base - number or number
end

local function translate(spec, base)
  for _, numbers in ipairs({ spec[9], spec[10] }) do
    for i, number in ipairs(numbers) do numbers[i] = translated(number, base) end
  end
  for _, condition in ipairs(spec[15] or {}) do condition[2] = translated(condition[2], base) end
end

local function add_steps(task, patch, base, asker)
  local count = #patch.steps
  task.steps, task.open, task.added = base + count, task.open + count, task.added + count
  task.added_bytes = task.added_bytes + patch.bytes
  for i, new in ipairs(patch.steps) do
    translate(new.spec, base)
    local blockers, skipped = standing(task, new.spec, base, asker)
    local step = Step.added(base + i, new.spec, new.input, blockers, task.revision)
    step.skipped = skipped
    task.step[base + i] = step
  end
  for i, new in ipairs(patch.steps) do
    for _, number in ipairs(new.spec[9]) do
      local needed = task.step[number]
      table.insert(Step.own_spec(needed).dependents, base + i)
      respecified(needed)
    end
  end
end

local function replaced(numbers, places)
  local found, seen = {}, {}
  for _, number in ipairs(numbers) do
    number = places[number] or number
    if not seen[number] then found[#found + 1] = number end
    seen[number] = true
  end
  return found
end

-- The dependent waits for what is in the places of old steps, and knows its output by the old ones' names.
local function redirect(task, dependent, places)
  local spec, names, seen = Step.own_spec(dependent), Step.names(task, dependent), {}
  for _, number in ipairs(spec.dependencies) do seen[number] = true end
  for _, number in ipairs(spec.dependencies) do
    local place = places[number]
    if place then
      for _, name in ipairs(names(number)) do spec.aliases[#spec.aliases + 1] = { place, name } end
      if seen[place] then
        dependent.blockers, dependent.changed = dependent.blockers - 1, true
      else
        table.insert(Step.own_spec(task.step[place]).dependents, dependent.number)
        respecified(task.step[place])
        seen[place] = true
      end
    end
  end
  spec.dependencies, spec.references = replaced(spec.dependencies, places), replaced(spec.references, places)
  for _, condition in ipairs(spec.conditions) do condition[2] = places[condition[2]] or condition[2] end
  respecified(dependent)
end

-- What waits for a step that has a substitute waits for that from now on, the steps of this patch excepted.
local function substitute(task, patch, places)
  local affected, seen = {}, {}
  for _, pair in ipairs(patch.substitutes) do
    local old, kept = task.step[pair[1]], {}
    for _, number in ipairs(Step.dependents(task, old)) do
      local dependent = Step.load(task, number)
      if dependent.state ~= PENDING or dependent.broken or dependent.added_by == task.revision then
        kept[#kept + 1] = number
      elseif not seen[number] then
        seen[number] = true
        affected[#affected + 1] = dependent
      end
    end
    Step.own_spec(old).dependents = kept
    respecified(old)
  end
  for _, dependent in ipairs(affected) do redirect(task, dependent, places) end
end

local function decoded_list(text)
  local readable, found = pcall(cjson.decode, text or '')
  return readable and type(found) == 'table' and found or {}
end

-- The steps whose outputs the task returns: they follow substitutes, and those of the planner's steps on which nothing
-- depends join them. With `drops` some may be out.
local function sinks_after(task, before, places, base, asker, drops)
  local sinks, seen = {}, {}
  local function add(number)
    if not seen[number] then sinks[#sinks + 1] = number end
    seen[number] = true
  end
  for _, number in ipairs(before) do
    if places[number] then
      add(places[number])
    elseif not drops or Step.load(task, number).dropped == 0 then
      add(number)
    end
  end
  for number = base + 1, asker and base or task.steps do
    if #Step.spec(task.step[number]).dependents == 0 then add(number) end
  end
  return sinks
end

local function keep_account(task, places, base, asker, drops)
  local v = redis.call('HMGET', K('task', task.id), 'sinks', 'agents')
  local known, names = {}, {}
  local sinks = sinks_after(task, decoded_list(task.sinks or v[1] or '[' .. base .. ']'), places, base, asker, drops)
  for _, agent in ipairs(decoded_list(task.agents or v[2])) do known[agent] = true end
  for number = base + 1, task.steps do known[Step.spec(task.step[number]).agent] = true end
  known[''] = nil
  for agent in pairs(known) do names[#names + 1] = '"' .. agent .. '"' end
  table.sort(names)
  task.sinks, task.agents = '[' .. table.concat(sinks, ',') .. ']', '[' .. table.concat(names, ',') .. ']'
end

-- The failed steps of the plan that a patch makes up for: those that its maker saw, and those it replaces.
local function made_up_for(task, patch, failed)
  local found = {}
  for _, number in ipairs(failed) do found[number] = Step.load(task, number) end
  for _, pair in ipairs(patch.substitutes) do found[pair[1]] = Step.load(task, pair[1]) end
  local steps = {}
  for _, step in pairs(found) do
    if step.state == FAILED and step.dropped == 0 then steps[#steps + 1] = step end
  end
  table.sort(steps, function(one, other) return one.number < other.number end)
  return steps
end

-- Applies a patch that has no defect. `asker` is the step whose agent adds it, which has just succeeded and has not let
-- its dependents go yet; `failed` are the numbers of the steps whose failure it makes up for. Events: plan_revised,
-- step_finished, step_ready.
function Patch.apply(task, patch, asker, failed)
  local base = task.steps
  task.revision, task.changed = task.revision + 1, true
  Task.event(task, 'plan_revised', string.format('%s,"revision":%d,"step_count":%d,"message":%s',
    asker and named(asker) or '', task.revision, base + #patch.steps, cjson.encode(patch.reason)))
  add_steps(task, patch, base, asker)
  local places = {}
  for _, pair in ipairs(patch.substitutes) do places[pair[1]] = translated(pair[2], base) end
  substitute(task, patch, places)
  local out = made_up_for(task, patch, failed or {})
  for _, step in ipairs(out) do step.dropped, step.changed = 1, true end
  for _, number in ipairs(patch.drop) do
    Step.drop(task, task.step[number])
    out[#out + 1] = task.step[number]
  end
  for _, step in ipairs(out) do Step.skip_dependents(task, step, true) end
  keep_account(task, places, base, asker, #out > 0)
  for number = base + 1, task.steps do
    local step = task.step[number]
    if step.state == PENDING and step.blockers == 0 and step.turn == 0 and step.parked == 0 then
      Step.let_go(task, step)
    end
  end
end
