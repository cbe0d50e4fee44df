-- KEYS: generation, spent, holds, amounts. ARGV: head; id, amount, time to live.
hold({spent = KEYS[2], holds = KEYS[3], amounts = KEYS[4]}, ARGV[3], ARGV[4], ARGV[5])
return {'renewed'}
