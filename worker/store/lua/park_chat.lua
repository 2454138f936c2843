-- Lets a chat wait for its lost line. Returns 1 if it is the line's first.
-- KEYS: the line's pause, its waiting chats, the lost lines
-- ARGV: chat id, line, reason, seconds until the first probe, seconds all this is kept
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[2])
local begun = redis.call('EXISTS', KEYS[1]) == 0
if begun then
  local now = clock()
  redis.call('HSET', KEYS[1], 'reason', ARGV[3], 'since', exact(now), 'probe_at', exact(now + tonumber(ARGV[4])))
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ARGV[5])
end
return begun and 1 or 0
