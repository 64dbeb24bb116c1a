-- Ends all sessions of a user whose records were saved by now: a mark that outlives them.
--
-- KEYS: the mark. ARGV: milliseconds that it lives.
local now = redis.call('TIME')
redis.call('SET', KEYS[1], string.format('%d', now[1] * 1000 + math.floor(now[2] / 1000)), 'PX', ARGV[1])
return 1
