-- KEYS: generation, epoch.
local value = kept_epoch(KEYS[2])
return {'epoch', begin_epoch(KEYS[2], tonumber(value) or 0)}
