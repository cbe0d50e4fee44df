-- Whether anything can be counted: a server that is full still answers what only reads.
-- KEYS: generation, a key that is never made.
need_room(KEYS[2])
return {'pong'}
