-- KEYS: generation, spent, holds, amounts, and one of a request that is paid once. ARGV: head; id, amount, time to live,
-- and what it asks for if it is paid once, or ''.
local account = {spent = KEYS[2], holds = KEYS[3], amounts = KEYS[4]}
hold(account, ARGV[3], ARGV[4], ARGV[5], {key = KEYS[5], asks = ARGV[6]})
return {'renewed'}
