-- Ends a claim without an answer. When nobody else sends it, the next one may.
--
-- KEYS: see sent_claim.lua. ARGV: claimant.
if redis.call('HDEL', KEYS[1], 'by:' .. ARGV[1]) == 1 and redis.call('HLEN', KEYS[1]) == 1 then
  redis.call('DEL', KEYS[1])
end
