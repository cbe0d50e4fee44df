-- KEYS: generation, spent, holds, amounts. ARGV: head; id; span, sum and version of each sum that has changed.
local account = {spent = KEYS[2], holds = KEYS[3], amounts = KEYS[4]}
release(account, ARGV[3])
for at = 4, #ARGV, 3 do learn(account, ARGV[at], ARGV[at + 1], ARGV[at + 2]) end
return {'settled'}
