-- KEYS: generation, spent, holds, amounts, room, and one of a request that is paid once. ARGV: head; id, amount, time to
-- live, span, limit, what is spent with its version, or '', and what it asks for if it is paid once, or ''.
need_room(KEYS[5])
local account = {spent = KEYS[2], holds = KEYS[3], amounts = KEYS[4]}
local once = {key = KEYS[6], asks = ARGV[10]}
local fits = fit(account, {amount = ARGV[4], span = ARGV[6], limit = ARGV[7], sum = ARGV[8], version = ARGV[9]})
if fits == 'unknown' then return {fits} end
if once.asks ~= '' then
  local why = repeated(account, once, ARGV[3])
  if why then return why end
end
if fits ~= 'fits' then return {fits} end
hold(account, ARGV[3], ARGV[4], ARGV[5], once)
return {'held'}
