-- Ends a session. A mark stays for a while, so that a node that has not heard of it can't write the record again.
--
-- KEYS: the record. ARGV: user, milliseconds that the mark lives.
if redis.call('HGET', KEYS[1], 'user') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'user', ARGV[1], 'ended', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
