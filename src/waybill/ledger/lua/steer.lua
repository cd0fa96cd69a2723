-- What an operator or a client asks of a task, once for each request id.

-- Loads the task for `verb`, or returns why nothing is to be done: the reply of the function.
local function asked(args, verb, detail)
  local task = Task.load(args[2])
  if not task then return nil, { 'missing' } end
  local what = verb .. ' ' .. args[2] .. (detail or '')
  local seen = Request.seen(args[3], args[4], what)
  if seen == 'reused' then return nil, { 'reused' } end
  if seen == 'known' then return nil, { 'ok', task.state } end
  return task, nil, what
end

-- Ends the call: writes what changed and remembers the request.
local function answered(args, task, what)
  Queue.settle_rooms()
  Request.keep(args[3], args[4], what)
  flush()
  return { 'ok', task.state }
end
