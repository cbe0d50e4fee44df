-- The generic cell rate algorithm (ITU-T I.371): one number a bucket, the theoretical arrival of the next request.

-- What the bucket would hold after a draw; or nothing, and the microseconds until a draw is possible.
local function peek(key, interval, burst)
  local arrival = tonumber(redis.call('GET', key) or '') or now
  -- No bucket can be further ahead than full: a clock that was set back must not close it.
  arrival = math.max(now, math.min(arrival, now + interval * burst))
  local earliest = arrival - interval * (burst - 1)
  if now < earliest then return nil, earliest - now end
  return arrival + interval
end

-- A bucket whose arrival has passed is as good as a new one.
local function fill(key, arrival)
  redis.call('SET', key, text(arrival), 'PX', text(math.ceil((arrival - now) / 1000)))
end
