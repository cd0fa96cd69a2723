-- set_limit: (limit) none <-> set
-- What an operator allows to run at once and to start in a minute. One that limits nothing is removed, together with what
-- was learned.
-- Keys: limits, limit, permits, line, lined, call.
-- Arguments: now, name, most at once, requests a minute, tokens a minute (0: no limit), tenant and id of the request.
-- Reply: 'ok' | 'reused'. Events: none.

local function set_limit(keys, args)
  begin(keys, args)
  local name, what = args[2], 'limit ' .. table.concat(args, ' ', 2, 5)
  local seen = Request.seen(args[6], args[7], what)
  if seen then return seen == 'known' and 'ok' or 'reused' end
  if args[3] == '0' and args[4] == '0' and args[5] == '0' then
    redis.call('SREM', K('limits'), name)
    redis.call('DEL', K('limit', name), K('permits', name))
  else
    redis.call('SADD', K('limits'), name)
    redis.call('HSET', K('limit', name), 'max_concurrency', args[3], 'requests_per_minute', args[4],
      'tokens_per_minute', args[5])
  end
  Request.keep(args[6], args[7], what)
  call.lines[name] = true
  Queue.settle_rooms()
  flush()
  return 'ok'
end

register('set_limit', set_limit, 'allow-oom')
