-- KEYS: generation, bucket. ARGV: head; interval, burst.
local arrival, wait = peek(KEYS[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
if not arrival then return {'wait', wait} end
fill(KEYS[2], arrival)
return {'drawn'}
