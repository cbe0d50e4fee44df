-- Every script begins with this.
-- KEYS[1] the generation. ARGV[1] the generation that the gateway knows, ARGV[2] the caller's time in microseconds, or
-- '' for the server's. Numbers are doubles here: all of them are below 2^53, and none is written with an exponent.
local generation = ARGV[1]
local kept = redis.call('HMGET', KEYS[1], 'run_id', 'since')
if not kept[1] or not kept[2] or kept[1] .. ':' .. kept[2] ~= generation then return {'other'} end

local function text(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
local now = tonumber(ARGV[2]) or clock
local now_ms = math.floor(now / 1000)

-- A write that changes nothing, and is refused as others are when the memory is full or the server is read-only. The
-- server asks for room before the first write of a script only, and this must not be one that gives some back.
local function need_room(key) redis.call('SETRANGE', key, 0, '') end
