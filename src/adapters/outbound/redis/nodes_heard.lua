-- Nodes, by when they were heard of.
--
-- KEYS: a sorted set. ARGV: the operation, and
--   heard    node, milliseconds to come       the node was heard of, or will be for the last time then
--   silent   milliseconds                     returns nodes that have not been heard of for so long, longest first
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] == 'heard' then
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[2])
  return {}
end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, 16)
