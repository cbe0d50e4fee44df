-- Settles which generation of counters this is, for all gateways alike: the first to come decides.
-- KEYS: the generation. ARGV: the run id of the server, the generation that the gateway knows or ''.
-- Answers run id, beginning, and 1 if something was lost before it.
local kept = redis.call('HMGET', KEYS[1], 'run_id', 'since', 'lost', 'after')
local run_id, since, lost, after = kept[1], kept[2], kept[3], kept[4]
local known = ARGV[2]
local is_current = run_id == ARGV[1] and since and lost
-- Who knows counters of another place, or later ones of this, has counted there since: this server was left, and is the right one
-- again. Unless this generation began after those. Clocks of two servers are not compared.
local place, begun = string.match(known, '^(.*):(%d+)$')
if is_current and place and known ~= after and (place ~= run_id or tonumber(begun) > (tonumber(since) or 0)) then
  is_current = false
end
-- Somebody remembers other counters than these: then they are no first ones.
if is_current and lost == '0' and known ~= '' and known ~= run_id .. ':' .. since then
  is_current = false
end
if not is_current then
  lost = (run_id or known ~= '') and '1' or '0'
  local time = redis.call('TIME')
  run_id, since = ARGV[1], string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('HSET', KEYS[1], 'run_id', run_id, 'since', since, 'lost', lost, 'after', known ~= '' and known or '-')
end
return {run_id, since, lost}
