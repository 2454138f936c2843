-- Returns '' while there is no pause, 'probe' for the one that tries during a pause, else the seconds until the next.
-- KEYS: pause; ARGV: seconds between probes
local probe_at = redis.call('HGET', KEYS[1], 'probe_at')
if not probe_at then
  return ''
end
local now = clock()
if now < tonumber(probe_at) then
  return exact(probe_at - now)
end
redis.call('HSET', KEYS[1], 'probe_at', exact(now + tonumber(ARGV[1])))
return 'probe'
