-- Appends entries to the lifecycle stream, all or none.
--
-- KEYS: the stream. ARGV: about how many entries it keeps, how many of the newest are searched for each entry (0: it is
-- new for sure), then for each entry the number of its words, field and value in turn.
local kept, window = ARGV[1], tonumber(ARGV[2])
local written = {}
if window > 0 then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', window)) do
    written[table.concat(entry[2], '\n')] = true
  end
end
local at = 3
while ARGV[at] do
  local count = tonumber(ARGV[at])
  local words = {}
  for i = at + 1, at + count do words[#words + 1] = ARGV[i] end
  if not written[table.concat(words, '\n')] then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', kept, '*', unpack(words))
  end
  at = at + count + 1
end
return 1
