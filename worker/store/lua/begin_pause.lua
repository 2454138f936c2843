-- Begins a pause: of all calls to Linq, or of pins. Returns 1 if there was none.
-- KEYS: pause; ARGV: reason, seconds until the first probe
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'reason', ARGV[1], 'since', exact(now), 'probe_at', exact(now + tonumber(ARGV[2])))
return 1
