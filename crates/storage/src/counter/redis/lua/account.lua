-- One tenant's money: sums that are known, and holds of requests under way.
-- `spent` has for each span its sum and version, and under '=' the generation that learnt them; `holds` the end of each
-- hold; `amounts` what each is about, and under '=' the sum of them.
--
-- The three end together, long after the last hold: if holds could be forgotten before somebody saw that they were not
-- settled, what is spent would still seem to be known.
local LIFE, LONGEST_HOLD = 691200000, 604800000
-- All time, this month, and the one before, in which the last requests may still end.
local SPANS = 3

local function keep(account)
  redis.call('PEXPIRE', account.spent, LIFE)
  redis.call('PEXPIRE', account.holds, LIFE)
  redis.call('PEXPIRE', account.amounts, LIFE)
end

local function held(account) return tonumber(redis.call('HGET', account.amounts, '=') or '') or 0 end

local function release(account, id)
  local amount = redis.call('HGET', account.amounts, id)
  if not amount then return end
  redis.call('ZREM', account.holds, id)
  redis.call('HDEL', account.amounts, id)
  if redis.call('ZCARD', account.holds) == 0 then
    redis.call('DEL', account.amounts)
  else
    redis.call('HSET', account.amounts, '=', text(math.max(0, held(account) - tonumber(amount))))
  end
end

-- A request that is paid once: what it asks for, until when that is known, and which request it was.
local function remember(once, id, ttl)
  redis.call('SET', once.key, once.asks .. ' ' .. text(now_ms + ttl) .. ' ' .. id, 'PX', text(ttl))
end

local function first(once)
  local asks, ends, id = string.match(redis.call('GET', once.key) or '', '^(%x+) (%d+) (.+)$')
  if id and tonumber(ends) > now_ms then return asks, id end
end

-- Nothing, or the answer to who asks for the same again.
local function repeated(account, once, id)
  local asks, by = first(once)
  if not by or by == id then return end
  if asks ~= once.asks then return {'another'} end
  return {redis.call('HEXISTS', account.amounts, by) == 1 and 'running' or 'answered', by}
end

-- Sets money aside, or for longer what is set aside already. With it ends what is known of a request that is paid once.
local function hold(account, id, amount, ttl, once)
  release(account, id)
  ttl = math.min(tonumber(ttl), LONGEST_HOLD)
  if once.asks ~= '' then remember(once, id, ttl) end
  redis.call('ZADD', account.holds, text(now_ms + ttl), id)
  redis.call('HSET', account.amounts, id, amount, '=', text(held(account) + tonumber(amount)))
  keep(account)
end

-- What was learnt before counters were lost may lack what was settled since.
local function drop_what_is_old(account)
  local of = redis.call('HGET', account.spent, '=')
  if of and of ~= generation then redis.call('DEL', account.spent) end
end

-- Drops holds whose time is over. Whoever held them may have spent money without saying so: what is spent is not known
-- any more.
local function prune(account)
  local over = redis.call('ZRANGEBYSCORE', account.holds, '-inf', text(now_ms))
  for _, id in ipairs(over) do release(account, id) end
  if #over > 0 then redis.call('DEL', account.spent) end
  drop_what_is_old(account)
end

-- Sum and version of a span; nothing if they are not known.
local function known(account, span)
  return string.match(redis.call('HGET', account.spent, span) or '', '^(%d+) (%d+)$')
end

-- The newest version stays.
local function learn(account, span, sum, version)
  drop_what_is_old(account)
  local _, have = known(account, span)
  if have and tonumber(have) >= tonumber(version) then return end
  redis.call('HSET', account.spent, '=', generation, span, sum .. ' ' .. version)
  if redis.call('HLEN', account.spent) > SPANS + 1 then
    local oldest
    for _, one in ipairs(redis.call('HKEYS', account.spent)) do
      local number = tonumber(one)
      if number and number ~= 0 and (not oldest or number < oldest) then oldest = number end
    end
    if oldest then redis.call('HDEL', account.spent, text(oldest)) end
  end
  keep(account)
end

-- Takes over what the store says, and looks whether the reservation fits. Makes none.
local function fit(account, reserve)
  prune(account)
  if reserve.sum ~= '' then learn(account, reserve.span, reserve.sum, reserve.version) end
  local sum = known(account, reserve.span)
  if not sum then return 'unknown' end
  local wanted = tonumber(sum) + held(account) + tonumber(reserve.amount)
  return wanted > tonumber(reserve.limit) and 'budget' or 'fits'
end
