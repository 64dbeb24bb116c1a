-- Who is in a dialog. First in and last out are decided here, so that exactly one node tells the others.
--
-- KEYS: a hash. Field: a user. Value, JSON: {"active": when the user last came, went or changed state,
-- "sessions": {session: [state, until]}}, times in milliseconds since 1970. The field '' holds the time at which
-- what has expired is swept out next. The key itself expires when nobody keeps anything in it alive.
--
-- ARGV: the operation, now, how long an entry lives without a heartbeat (both in milliseconds), and
--   enter      user, session, state ('online' or 'away')     returns {state, active} if the user's state changed
--   leave      user, session                                 returns the same
--   heartbeat  user, session, user, session, ...
--   list       how many at most                              returns {user, state, active, user, state, active, ...}
local key = KEYS[1]
local operation, now, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local SWEEP = ''

local function load(user)
  local json = redis.call('HGET', key, user)
  return json and cjson.decode(json) or { active = now, sessions = {} }
end

local function save(user, visitor)
  if next(visitor.sessions) then
    redis.call('HSET', key, user, cjson.encode(visitor))
    redis.call('PEXPIRE', key, 2 * ttl)
  else
    redis.call('HDEL', key, user)
    if redis.call('HLEN', key) <= 1 then redis.call('DEL', key) end
  end
end

local function purge(visitor)
  local kept = {}
  for session, entry in pairs(visitor.sessions) do
    if now < entry[2] then kept[session] = entry end
  end
  visitor.sessions = kept
end

local function state_of(visitor)
  local state = 'offline'
  for _, entry in pairs(visitor.sessions) do
    if entry[1] == 'online' then return 'online' end
    state = 'away'
  end
  return state
end

-- All who are there; forgets the others.
local function present()
  local visitors, all = {}, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if all[i] ~= SWEEP then
      local visitor = cjson.decode(all[i + 1])
      purge(visitor)
      if next(visitor.sessions) then
        visitors[#visitors + 1] = { user = all[i], state = state_of(visitor), active = visitor.active }
      else
        redis.call('HDEL', key, all[i])
      end
    end
  end
  return visitors
end

local function change(user, act)
  local visitor = load(user)
  purge(visitor)
  local before = state_of(visitor)
  act(visitor)
  local after = state_of(visitor)
  save(user, visitor)
  if before == after then return false end
  return { after, visitor.active }
end

if operation == 'enter' then
  local user, session, state = ARGV[4], ARGV[5], ARGV[6]
  if now >= tonumber(redis.call('HGET', key, SWEEP) or 0) then
    present()
    redis.call('HSET', key, SWEEP, string.format('%d', now + ttl))
  end
  return change(user, function(visitor)
    local known = visitor.sessions[session]
    if not known or known[1] ~= state then visitor.active = now end
    visitor.sessions[session] = { state, now + ttl }
  end)
elseif operation == 'leave' then
  local user, session = ARGV[4], ARGV[5]
  return change(user, function(visitor)
    if visitor.sessions[session] then visitor.active = now end
    visitor.sessions[session] = nil
  end)
elseif operation == 'heartbeat' then
  for i = 4, #ARGV, 2 do
    local user, session = ARGV[i], ARGV[i + 1]
    local visitor = load(user)
    if visitor.sessions[session] then
      visitor.sessions[session][2] = now + ttl
      save(user, visitor)
    end
  end
  return 0
elseif operation == 'list' then
  local limit = tonumber(ARGV[4])
  local visitors = present()
  table.sort(visitors, function(a, b)
    if a.active ~= b.active then return a.active > b.active end
    return a.user < b.user
  end)
  local listed = {}
  for i = 1, math.min(#visitors, limit) do
    local visitor = visitors[i]
    listed[#listed + 1] = visitor.user
    listed[#listed + 1] = visitor.state
    listed[#listed + 1] = visitor.active
  end
  return listed
end
return redis.error_reply('ERR unknown operation')
