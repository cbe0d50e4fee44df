-- KEYS: generation, spent, holds, amounts, room. ARGV: head; id, amount, time to live, span, limit, and what is spent
-- with its version, or ''.
need_room(KEYS[5])
local account = {spent = KEYS[2], holds = KEYS[3], amounts = KEYS[4]}
local fits = fit(account, {amount = ARGV[4], span = ARGV[6], limit = ARGV[7], sum = ARGV[8], version = ARGV[9]})
if fits ~= 'fits' then return {fits} end
hold(account, ARGV[3], ARGV[4], ARGV[5])
return {'held'}
