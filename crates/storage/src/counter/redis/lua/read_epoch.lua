-- KEYS: generation, epoch.
local value = epoch(KEYS[2])
use_epoch(KEYS[2])
return {'epoch', value}
