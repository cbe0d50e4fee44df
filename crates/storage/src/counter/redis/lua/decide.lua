-- An admission: epoch, then claim, then repetition, then rates, then quota, then budget. First all is looked at, then all is taken; only
-- the claim is used up by a request that is then refused.
-- KEYS: generation, epoch, claims, quota, spent, holds, amounts, room, three buckets, and one of a request that is paid once.
-- ARGV: head; epoch; key of the claim or '', its end, and how long its gateway thinks that is; '1' if something is to be
-- taken, the daily quota, three times interval and burst; id of the hold or '', amount, time to live, span, limit, and
-- what is spent with its version, or '', and what it asks for if it is paid once, or ''.
local EPOCH, CLAIMS, QUOTA, ROOM = KEYS[2], KEYS[3], KEYS[4], KEYS[8]
local MAX_CLAIMS, DAY, TWO_DAYS = 500000, 86400000, 172800000
local account = {spent = KEYS[5], holds = KEYS[6], amounts = KEYS[7]}
local once = {key = KEYS[12], asks = ARGV[22] or ''}
local reserve = {
  id = ARGV[15] or '', amount = ARGV[16], ttl = ARGV[17], span = ARGV[18], limit = ARGV[19], sum = ARGV[20], version = ARGV[21],
}

-- Nothing, or what stands in the way of the claim.
local function claim(key, ends, lasts)
  -- A few at a time, so that no single request pays for many.
  local over = redis.call('ZRANGEBYSCORE', CLAIMS, '-inf', '(' .. text(now_ms), 'LIMIT', 0, 4)
  if #over > 0 then redis.call('ZREM', CLAIMS, unpack(over)) end
  local known = redis.call('ZSCORE', CLAIMS, key)
  if known and tonumber(known) >= now_ms then return 'replayed' end
  if redis.call('ZCARD', CLAIMS) >= MAX_CLAIMS then return 'full' end
  -- Where the clocks differ, the later end counts.
  ends = math.max(tonumber(ends), now_ms + tonumber(lasts))
  redis.call('ZADD', CLAIMS, text(ends), key)
  if redis.call('PTTL', CLAIMS) < ends - now_ms + 1 then
    redis.call('PEXPIRE', CLAIMS, text(math.max(1, ends - now_ms + 1)))
  end
end

local current = epoch(EPOCH)
if current ~= ARGV[3] then return {'stale', current} end
need_room(ROOM)

local fits = 'fits'
if reserve.id ~= '' then fits = fit(account, reserve) end
if fits == 'unknown' then return {'unknown'} end
if ARGV[4] ~= '' then
  local why = claim(ARGV[4], ARGV[5], ARGV[6])
  if why then return {why} end
end
use_epoch(EPOCH)
if once.asks ~= '' then
  local why = repeated(account, once, reserve.id)
  if why then return why end
end
if ARGV[7] ~= '1' then return {'claimed'} end

local arrivals, ahead = {}, {-1, -1, -1}
for at = 1, 3 do
  local interval, burst = tonumber(ARGV[7 + 2 * at]), tonumber(ARGV[8 + 2 * at])
  if interval > 0 then
    local arrival, wait = peek(KEYS[8 + at], interval, burst)
    if not arrival then return {'limited', at, wait} end
    arrivals[at], ahead[at] = arrival, arrival - now
  end
end

-- A day that has begun does not end again: a request that was under way over midnight, or a clock that steps back,
-- counts on the newer day.
local day, used = string.match(redis.call('GET', QUOTA) or '', '^(%d+) (%d+)$')
local today = math.max(tonumber(day) or 0, math.floor(now_ms / DAY))
used = tonumber(day) == today and tonumber(used) or 0
if used >= tonumber(ARGV[8]) then return {'quota'} end
if fits ~= 'fits' then return {fits} end

if reserve.id ~= '' then hold(account, reserve.id, reserve.amount, reserve.ttl, once) end
redis.call('SET', QUOTA, text(today) .. ' ' .. text(used + 1), 'PX', TWO_DAYS)
for at, arrival in pairs(arrivals) do fill(KEYS[8 + at], arrival) end
return {'taken', ahead[1], ahead[2], ahead[3], used + 1}
