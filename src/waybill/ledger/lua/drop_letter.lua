-- drop_letter: (dead letter) -> (nothing)
-- Removes a dead letter; its task stays as it ended.
-- Keys: dead, letters, call. Arguments: now, tenant, letter id, tenant and id of the request (may be empty).
-- Reply: 'ok' | 'missing' | 'reused'. Events: none.

local function drop_letter(keys, args)
  begin(keys, args)
  local what = 'drop ' .. args[3]
  local seen = Request.seen(args[4], args[5], what)
  if seen then return seen == 'known' and 'ok' or 'reused' end
  if not Letter.drop(args[2], args[3]) then return 'missing' end
  Request.keep(args[4], args[5], what)
  return 'ok'
end

register('drop_letter', drop_letter, 'allow-oom')
