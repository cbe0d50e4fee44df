-- An epoch stands beside the generation it is of, so that none outlives what was lost, whatever clocks say. A missing
-- one begins at a value that was not there before, so it may be forgotten after a week without use.
local WEEK, SIX_DAYS = 604800000, 518400000

local function begin_epoch(key, old)
  local value = text(math.max(clock, old + 1))
  redis.call('SET', key, value .. ' ' .. generation, 'PX', WEEK)
  return value
end

local function kept_epoch(key)
  local value, of = string.match(redis.call('GET', key) or '', '^(%d+) (.*)$')
  return value, of == generation
end

local function epoch(key)
  local value, stands = kept_epoch(key)
  if stands then return value end
  return begin_epoch(key, tonumber(value) or 0)
end

-- A write now and then is enough.
local function use_epoch(key)
  if redis.call('PTTL', key) < SIX_DAYS then redis.call('PEXPIRE', key, WEEK) end
end
