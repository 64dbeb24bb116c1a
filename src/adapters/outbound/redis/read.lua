-- Reads a piece of a log and where the log stands, in one atomic step. The gateways' own: see publish.lua for what is
-- public.
--
--   KEYS[1]  the log          KEYS[2]  its head
--   ARGV[1]  'after', 'since' or 'newest'
--   ARGV[2]  an offset, a time in milliseconds, or 0
--   ARGV[3]  most entries     ARGV[4]  most bytes of events (one event may exceed it)
--   ARGV[5]  the epoch of the log if it has none yet
--   ARGV[6]  most bytes of one event: what is larger comes cut off behind one byte more
--
-- Answer: {epoch, head offset, first offset, {id, offset, event, id, offset, event, ...}}. The offsets of the entries
-- follow on one another. `first offset` is the oldest that the log has, or, if what comes right after the asked offset
-- is missing, the oldest after the hole; the head offset + 1 if there is none.
--
-- A log may hold what no Store has written by the script: an entry that is not the next in line is passed over.

local log, meta = KEYS[1], KEYS[2]
local mode, limit, most_bytes = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local event_max_bytes = tonumber(ARGV[6])

local CHUNK_ENTRIES = 128
local META_TTL_S = 30 * 24 * 3600
local OFFSET_MAX = 9007199254740991

local head = redis.call('HMGET', meta, 'epoch', 'offset')
local epoch, last = head[1], nil
if head[2] and #head[2] <= 16 and string.match(head[2], '^%d+$') then
  last = tonumber(head[2])
end
if not epoch or epoch == '' or not last or last >= OFFSET_MAX then
  epoch, last = ARGV[5], 0
  -- What is left of a log whose head is gone has offsets of another generation.
  redis.call('DEL', log)
  redis.call('HSET', meta, 'epoch', epoch, 'offset', '0')
  redis.call('EXPIRE', meta, META_TTL_S)
  return { epoch, 0, 1, {} }
end

-- Offset and event of an entry, or nothing if it has no offset that this log can have.
local function parse(fields)
  local offset, event
  for f = 1, #fields, 2 do
    if fields[f] == 'o' then offset = fields[f + 1] elseif fields[f] == 'e' then event = fields[f + 1] end
  end
  if not offset or #offset > 16 or not string.match(offset, '^[1-9]%d*$') then return nil end
  offset = tonumber(offset)
  if offset > last then return nil end
  return offset, event or ''
end

-- Walks the log from one end or an id, in small pieces. `visit` returns true to stop.
local function walk(command, from, to, visit)
  local count = 1
  while true do
    local chunk = redis.call(command, log, from, to, 'COUNT', count)
    for _, entry in ipairs(chunk) do
      local offset, event = parse(entry[2])
      if offset and visit(entry[1], offset, event) then return end
    end
    if #chunk < count then return end
    from = '(' .. chunk[#chunk][1]
    count = math.min(count * 4, CHUNK_ENTRIES)
  end
end

local first, first_id = last + 1, nil
walk('XRANGE', '-', '+', function(id, offset)
  first, first_id = offset, id
  return true
end)

-- From which entry on: its id, and its offset if that is known.
local start, expected
if mode == 'since' then
  start = ARGV[2]
else
  expected = math.max((mode == 'newest' and last - limit or tonumber(ARGV[2])) + 1, first)
  if expected == first then
    start = first_id
  elseif expected <= last then
    -- Offsets say nothing about ids. Most readers are only a little behind, so it is looked for from the end.
    walk('XREVRANGE', '+', '-', function(id, offset)
      if offset == expected then start = id end
      return start ~= nil
    end)
    if not start then
      -- The log has a hole there.
      first = last + 1
      walk('XRANGE', '-', '+', function(_, offset)
        if offset > expected then first = offset end
        return offset > expected
      end)
    end
  end
end

local entries, bytes = {}, 0
if start and limit > 0 then
  walk('XRANGE', start, '+', function(id, offset, event)
    expected = expected or offset
    if offset ~= expected then return false end
    if #event > event_max_bytes then event = string.sub(event, 1, event_max_bytes + 1) end
    local n = #entries
    if n > 0 and bytes + #event > most_bytes then return true end
    entries[n + 1], entries[n + 2], entries[n + 3] = id, string.format('%.0f', offset), event
    bytes = bytes + #event
    expected = expected + 1
    return expected > last or n + 3 >= 3 * limit
  end)
end
return { epoch, last, first, entries }
