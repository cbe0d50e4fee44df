-- KEYS: generation, quota.
local day, used = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+) (%d+)$')
return {'quota', day or '', used or ''}
