-- One function call: its clock, its keys, and what it has loaded and not yet written.
-- Every function begins with `begin` and ends with `flush` (task.lua): what lies between changes tables only,
-- so that nothing raises once writing has started. Library state never outlives a call.

local function register(name, callback, ...)
  redis.register_function { function_name = name .. '_' .. TAG, callback = callback, flags = { ... } }
end

-- What the server gives is looked up by its name in two tables each time, so its functions are held here from the first
-- call on: some of them are not there yet while the library loads.
local function given()
  return redis, string, math, table, cmsgpack, struct, ipairs, pairs, type, tonumber, pcall, unpack, setmetatable, rawset,
    rawget, next
end
local redis, string, math, table, cmsgpack, struct, ipairs, pairs, type, tonumber, pcall, unpack, setmetatable, rawset,
  rawget, next

-- Texts of small numbers, and the fields of a task's steps: to write a number takes longer than anything else that a step
-- needs. Others are made when they are needed.
local TEXT, RUN, SPEC, INPUT, OUTPUT = {}, {}, {}, {}, {}
for i = 0, 256 do
  local text = '' .. i
  TEXT[i], RUN[i], SPEC[i], INPUT[i], OUTPUT[i] = text, 'run:' .. i, 'spec:' .. i, 'in:' .. i, 'out:' .. i
end

local GROUP = 'workers'
local PRIORITIES = { 'high', 'normal', 'low' }
local CHUNK = 400
local DEFAULTS = {
  batch_target_ms = 50,
  queue_window = 64,
  retention_ms = 604800000,
  run_grace_ms = 5000,
  cancel_grace_ms = 10000,
  worker_ttl_ms = 2400,
  tick_interval_ms = 100,
  claim_grace_ms = 3000,
  max_deaths = 3,
  max_losses = 25,
  retention_count = 0,
  archive = 0,
  archive_wait_ms = 86400000,
  request_ms = 86400000,
  usage_ms = 34560000000,
  permit_ms = 5000,
  weights = 0,
}

local call = {}
local Task, Step, Queue, Worker, Pause, Request, Effect, Letter = {}, {}, {}, {}, {}, {}, {}, {}
local Usage, Money, Artifact, Limit, Line, Patch, Revision, Schedule = {}, {}, {}, {}, {}, {}, {}, {}
local Batch, Turn, Claim = {}, {}, {}
local flush

-- keys[1] is the partition's prefix; args[1] is the time in epoch milliseconds, or 0 for the server's own clock.
local function begin(keys, args)
  if not redis then
    redis, string, math, table, cmsgpack, struct, ipairs, pairs, type, tonumber, pcall, unpack, setmetatable, rawset,
      rawget, next = given()
  end
  local now = tonumber(args[1])
  if now == 0 then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  local prefix = keys[1]
  -- `task`, `events` and `bell` begin the keys that every task has; `stamp` is what every event has after its type, and
  -- `deadlines` and `expiry` are times that many have, as texts.
  local text = string.format('%d', now)
  call = { prefix = prefix, now = now, tasks = {}, loaded = {}, specs = {}, waiting = {}, rooms = {}, lines = {},
    ends = {}, batches = {}, indexed = {}, expiring = {}, claimed = {}, released = {}, task = prefix .. ':task:',
    events = prefix .. ':events:', bell = prefix .. ':bell:', stamp = '","time_ms":' .. text,
    now_text = text, deadlines = {} }
end

local function K(kind, ...)
  return call.prefix .. string.format(SUFFIX[kind], ...)
end

local function policy(name)
  if not call.policy then
    call.policy = {}
    local flat = redis.call('HGETALL', K('policy'))
    for i = 1, #flat, 2 do call.policy[flat[i]] = tonumber(flat[i + 1]) end
  end
  return call.policy[name] or DEFAULTS[name]
end

local function integer(number)
  return string.format('%d', number)
end

-- A variadic command in pieces that fit Lua's stack; `width` values belong together.
local function in_chunks(command, key, values, width)
  local size = CHUNK - CHUNK % (width or 1)
  for first = 1, #values, size do
    redis.call(command, key, unpack(values, first, math.min(first + size - 1, #values)))
  end
end

local function HMGET_all(key, fields)
  local found = {}
  for first = 1, #fields, CHUNK do
    local last = math.min(first + CHUNK - 1, #fields)
    local part = redis.call('HMGET', key, unpack(fields, first, last))
    for i = 1, last - first + 1 do found[first + i - 1] = part[i] end
  end
  return found
end

