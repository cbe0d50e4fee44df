-- KEYS: generation, spent, holds, amounts, and one of a request that is paid once. ARGV: head; id; what it asks for, or
-- '', and for how long that is known, or 0; span, sum and version of each sum that has changed.
local account = {spent = KEYS[2], holds = KEYS[3], amounts = KEYS[4]}
local once = {key = KEYS[5], asks = ARGV[4]}
release(account, ARGV[3])
for at = 6, #ARGV, 3 do learn(account, ARGV[at], ARGV[at + 1], ARGV[at + 2]) end
if once.asks ~= '' then
  local _, by = first(once)
  local mine = not by or by == ARGV[3]
  if mine and ARGV[5] ~= '0' then
    remember(once, ARGV[3], tonumber(ARGV[5]))
  elseif by and mine then
    redis.call('DEL', once.key)
  end
end
return {'settled'}
