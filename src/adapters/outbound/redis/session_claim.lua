-- Makes a node the owner of a session that has a record.
--
-- KEYS: the record. ARGV: epoch, node.
-- Returns 1, or 0 when there is no record or somebody else has the session in this epoch or a later one.
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'node')
if not stored[1] then return 0 end
local held, claimed = tonumber(stored[1]), tonumber(ARGV[1])
if claimed < held or (claimed == held and stored[2] ~= ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'node', ARGV[2])
return 1
