-- Writes a session's record, unless a later generation of it is elsewhere, or another node has written what the writer has
-- not read.
--
-- KEYS: the record. ARGV: epoch, node, milliseconds to live, revision, `<epoch>.<revision>` of the record that the session was
-- rebuilt from (empty if it began on this node), then fields and their values.
-- Returns 1, or 0 when the record was left as it is.
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'node', 'ended', 'revision')
if stored[3] then return 0 end
if stored[1] then
  local held, claimed = tonumber(stored[1]), tonumber(ARGV[1])
  local own, revision = stored[2] == ARGV[2], stored[4] or '0'
  if claimed < held or (claimed == held and not own) then return 0 end
  if claimed > held and not own and ARGV[5] ~= stored[1] .. '.' .. revision then return 0 end
  -- An earlier save that comes late: what lies there says it all.
  if claimed == held and tonumber(revision) > tonumber(ARGV[4]) then return 1 end
end
-- Fields that the session no longer has must not stay.
redis.call('DEL', KEYS[1])
local now = redis.call('TIME')
local millis = string.format('%d', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'node', ARGV[2], 'revision', ARGV[4], 'saved_at', millis, unpack(ARGV, 6))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
