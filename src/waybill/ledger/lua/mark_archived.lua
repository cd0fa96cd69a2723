-- mark_archived: SUCCEEDED | FAILED | CANCELLED (may expire from now on)
-- The archive has these tasks as they ended then; one that was retried since is archived again when it ends.
-- Keys: unarchived, task. Arguments: now, then for each task: id, ended ms. Reply: number of marks. Events: none.

local function mark_archived(keys, args)
  begin(keys, args)
  local marked = 0
  for i = 2, #args, 2 do
    if redis.call('HGET', K('task', args[i]), 'ended') == args[i + 1] then
      marked = marked + redis.call('ZREM', K('unarchived'), args[i])
    end
  end
  return marked
end

register('mark_archived', mark_archived, 'allow-oom')
