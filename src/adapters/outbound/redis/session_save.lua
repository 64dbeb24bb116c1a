-- Writes a session's record, unless a later generation of it is elsewhere.
--
-- KEYS: the record. ARGV: epoch, node, milliseconds to live, then fields and their values.
-- Returns 1, or 0 when the record was left as it is.
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'node', 'ended')
if stored[3] then return 0 end
if stored[1] then
  local held, claimed = tonumber(stored[1]), tonumber(ARGV[1])
  if claimed < held or (claimed == held and stored[2] ~= ARGV[2]) then return 0 end
end
-- Fields that the session no longer has must not stay.
redis.call('DEL', KEYS[1])
local now = redis.call('TIME')
local millis = string.format('%d', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'node', ARGV[2], 'saved_at', millis, unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
