-- Claims a send.
--
-- KEYS: a hash: `fingerprint`, a field `by:<claimant>` for each who sends it right now, and when it was sent the
-- answer: `message_id`, `seq`, `created_at`.
-- ARGV: fingerprint, claimant, milliseconds that a claim lives, 'join' to send it although others do.
-- Returns {'fresh'}, {'underway'}, {'conflict'} or {'done', message_id, seq, created_at}.
local known = redis.call('HMGET', KEYS[1], 'fingerprint', 'message_id', 'seq', 'created_at')
if known[1] and known[1] ~= ARGV[1] then return { 'conflict' } end
if known[2] then return { 'done', known[2], known[3], known[4] } end
if known[1] and ARGV[4] ~= 'join' then return { 'underway' } end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'by:' .. ARGV[2], 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'fresh' }
