-- Remembers the answer to a send.
--
-- KEYS: see sent_claim.lua. ARGV: milliseconds that it is remembered, then fields and their values.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
