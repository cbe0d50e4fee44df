-- KEYS: generation, spent, holds, amounts. ARGV: head; span.
local account = {spent = KEYS[2], holds = KEYS[3], amounts = KEYS[4]}
prune(account)
local sum, version = known(account, ARGV[3])
return {'standing', held(account), sum or '', version or ''}
