-- Which sessions a user has, on all nodes. What is a change is decided here, so that exactly one node tells it.
--
-- KEYS: a hash. Field: a session. Value, JSON:
--   s  state: n (new, never read), a (attached), d (detached), e (ended: kept for a while, so that an end told twice is
--      told once)
--   n  node    g  generation    u  until when it counts, if it is not attached (milliseconds since 1970)
--   t  transport    d  device    k  token of the last step
--
-- ARGV: the operation, for how long a session that nobody reads counts, how long an ended one is remembered (both in
-- milliseconds), and
--   enter  session, node, generation, limit        returns {1}, or {0, node, node, ...} if the user has enough already
--   turn   step, session, node, generation, transport, device, token
--                                                  returns how many others are attached, or -1 if nothing has changed
--   reap   node, token                             returns {{session, transport, device, others}, ...}
--   reap   node, token, session                    the same of one session alone
local key = KEYS[1]
local operation, resume, remember = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- Long enough for a session that is attached for days.
local KEEP = 7 * 24 * 3600 * 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function load(session)
  local json = redis.call('HGET', key, session)
  return json and cjson.decode(json)
end

local function save(session, entry)
  redis.call('HSET', key, session, cjson.encode(entry))
  redis.call('PEXPIRE', key, KEEP)
end

-- All that count; forgets the others.
local function counting()
  local entries, all = {}, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local entry = cjson.decode(all[i + 1])
    if entry.s ~= 'a' and entry.u <= now then
      redis.call('HDEL', key, all[i])
    elseif entry.s ~= 'e' then
      entries[all[i]] = entry
    end
  end
  return entries
end

local function others(session)
  local count = 0
  for name, entry in pairs(counting()) do
    if name ~= session and entry.s == 'a' then count = count + 1 end
  end
  return count
end

local function finish(session, entry, token)
  entry.s, entry.u, entry.k = 'e', now + remember, token
  save(session, entry)
end

if operation == 'enter' then
  local session, node, generation, limit = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
  local entries, count, nodes, seen = counting(), 0, { 0 }, {}
  if entries[session] then return { 1 } end
  for _, entry in pairs(entries) do
    count = count + 1
    if not seen[entry.n] then
      seen[entry.n] = true
      nodes[#nodes + 1] = entry.n
    end
  end
  if count >= limit then return nodes end
  save(session, { s = 'n', n = node, g = generation, u = now + resume, t = '', d = '', k = '' })
  return { 1 }
elseif operation == 'turn' then
  local step, session, node, generation = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
  local transport, device, token = ARGV[8], ARGV[9], ARGV[10]
  local entry = load(session)
  if entry and entry.k == token then return others(session) end
  if entry and generation < entry.g then return -1 end
  local before = entry and entry.s or 'e'
  if entry and before ~= 'a' and entry.u <= now then before = 'e' end
  if step == 'attached' then
    local changed = before ~= 'a'
    save(session, { s = 'a', n = node, g = generation, u = 0, t = transport, d = device, k = changed and token or '' })
    return changed and others(session) or -1
  elseif step == 'detached' then
    if before ~= 'a' then return -1 end
    entry.s, entry.u, entry.k = 'd', now + resume, token
    save(session, entry)
    return others(session)
  elseif step == 'ended' then
    if before == 'n' then redis.call('HDEL', key, session) end
    if before == 'n' or before == 'e' then return -1 end
    finish(session, entry, token)
    return others(session)
  end
elseif operation == 'reap' then
  local node, token, only, reaped, entries = ARGV[4], ARGV[5], ARGV[6], {}, {}
  if only then entries[only] = load(only) or nil else entries = counting() end
  for session, entry in pairs(entries) do
    if entry.n == node and entry.s ~= 'e' then
      if entry.s == 'n' then
        redis.call('HDEL', key, session)
      else
        finish(session, entry, token)
        reaped[#reaped + 1] = { session, entry.t, entry.d }
      end
    end
  end
  for _, one in ipairs(reaped) do one[4] = others(one[1]) end
  return reaped
end
return redis.error_reply('ERR unknown operation')
