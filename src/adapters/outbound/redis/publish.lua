-- Appends an event to the log of a dialog or a user, and publishes it to whoever listens: one atomic step.
--
-- This script is the public interface between a Store, in any language, and the gateways. Load it with SCRIPT LOAD and
-- call it with EVALSHA (or send it with EVAL), on Redis 7 or newer or on Valkey: one server, Sentinel, or Cluster.
--
--   KEYS[1]  the log          edgeway:{d:<dialog_id>}:log    (edgeway:{u:<user_id>}:log  for a user's own feed)
--   KEYS[2]  its head         edgeway:{d:<dialog_id>}:meta
--   KEYS[3]  the live channel edgeway:{d:<dialog_id>}:live
--   ARGV[1]  the event, a JSON object of at most 262144 bytes
--   ARGV[2]  the event key: your choice, unique in this dialog, 1 to 512 bytes
--   ARGV[3]  about how many entries the log keeps: 1000 is usual
--   ARGV[4]  seconds that the log lives after its last append: 86400 is usual
--   ARGV[5]  optional: 'repeated' asks for a fourth value in the answer
--
-- Answer: {epoch, offset, id}. `epoch` is the generation of the log, `offset` counts its events from 1 without holes,
-- `id` is the stream's own id of the entry, `<milliseconds>-<n>`. With ARGV[5], a fourth value follows: 1 if the event
-- key was there already, else 0.
--
-- A call that is repeated is harmless: an event key among the newest 64 entries is not appended again, nothing is
-- published, and the answer is that of the first call. So an outbox may send again whatever it is not sure of.
--
-- Errors, none of which leaves anything behind: `TOOLARGE` (the event), `BADARGS` (anything else about the
-- arguments), and the server's own (OOM, READONLY, WRONGTYPE ...).
--
-- The three keys have the same hash tag, the part in braces, and so the same slot. Sharded Pub/Sub (SPUBLISH) is what
-- the gateways listen to; PUBLISH would not reach them.

local EVENT_MAX_BYTES = 262144
local KEY_MAX_BYTES = 512
local WINDOW_ENTRIES = 64
local TAG_CHARACTERS = 4
-- The head outlives its log by far: whoever comes back after a month still learns that something was missed.
local META_TTL_MIN_S = 30 * 24 * 3600
local TTL_MAX_S = 10 * 365 * 24 * 3600
local MAXLEN_MAX_ENTRIES = 10000000
-- Beyond this, the numbers of Lua (and of browsers) are no longer exact.
local OFFSET_MAX = 9007199254740991

local log, meta, live = KEYS[1], KEYS[2], KEYS[3]
local event, key = ARGV[1], ARGV[2]
local tell_repeated = ARGV[5] == 'repeated'

local function whole(text, most)
  local number = text and #text <= 16 and string.match(text, '^%d+$') and tonumber(text)
  return number and number >= 1 and number <= most and number
end

-- All checks come before the first write: a script that fails half-way is not rolled back.
local maxlen, ttl = whole(ARGV[3], MAXLEN_MAX_ENTRIES), whole(ARGV[4], TTL_MAX_S)
if #KEYS ~= 3 or not key or key == '' or #key > KEY_MAX_BYTES or not maxlen or not ttl then
  return redis.error_reply('BADARGS want 3 keys (log, meta, live) and: event, event key, maxlen, ttl in seconds')
end
if #event > EVENT_MAX_BYTES then
  return redis.error_reply('TOOLARGE an event has at most ' .. EVENT_MAX_BYTES .. ' bytes')
end

local head = redis.call('HMGET', meta, 'epoch', 'offset', 'recent')
local epoch, last = head[1], head[2] and (head[2] == '0' and 0 or whole(head[2], OFFSET_MAX - 1))

-- Looking for the event key in 64 entries costs fifty times what appending does. So the head keeps a short tag of each
-- of these keys in its field `recent`, as `<offset>:<tags>`, and the log is searched only when a tag is there, or when
-- somebody else has appended and the tags are those of another offset.
local tag = string.sub(redis.sha1hex(key), 1, TAG_CHARACTERS)
local tags = ''

if not epoch or epoch == '' or not last then
  -- A new generation. It must differ from every other that this log ever had; that nobody can guess it is not needed.
  -- Lua's math.random won't do: Redis seeds it alike at every call. The time in microseconds and this very event are
  -- in no earlier generation of this log, even if the server's clock was set back.
  local now = redis.call('TIME')
  epoch = string.sub(redis.sha1hex(table.concat({ meta, now[1], now[2], key, event }, ' ')), 1, 16)
  last = 0
  -- What is left of a log whose head is gone has offsets of another generation.
  redis.call('DEL', log)
else
  local at, kept = string.match(head[3] or '', '^(%d+):(%x*)$')
  local known = at == head[2]
  tags = known and kept or ''
  if not known or string.find(tags, tag, 1, true) then
    for _, entry in ipairs(redis.call('XREVRANGE', log, '+', '-', 'COUNT', WINDOW_ENTRIES)) do
      local fields, offset, its_key = entry[2], nil, nil
      for f = 1, #fields, 2 do
        if fields[f] == 'k' then its_key = fields[f + 1] end
        if fields[f] == 'o' then offset = whole(fields[f + 1], last) end
      end
      if its_key == key and offset then
        local answer = { epoch, offset, entry[1] }
        if tell_repeated then answer[4] = 1 end
        return answer
      end
      if its_key and not known then
        tags = string.sub(redis.sha1hex(its_key), 1, TAG_CHARACTERS) .. tags
      end
    end
  end
end

local offset = last + 1
local offset_text = string.format('%.0f', offset)
local recent = offset_text .. ':' .. string.sub(tags .. tag, -WINDOW_ENTRIES * TAG_CHARACTERS)
local id = redis.call('XADD', log, 'MAXLEN', '~', maxlen, '*', 'o', offset_text, 'e', event, 'k', key)
redis.call('EXPIRE', log, ttl)
redis.call('HSET', meta, 'epoch', epoch, 'offset', offset_text, 'recent', recent)
redis.call('EXPIRE', meta, math.max(ttl, META_TTL_MIN_S))
redis.call('SPUBLISH', live, epoch .. ' ' .. offset_text .. ' ' .. id .. '\n' .. event)

local answer = { epoch, offset, id }
if tell_repeated then answer[4] = 0 end
return answer
