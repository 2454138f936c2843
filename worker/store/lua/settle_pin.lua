-- Settles a pin, once for each job: stores the job's result and publishes its event. Returns the stored result, which
-- is an earlier one if the job runs again.
-- KEYS: pin, events; ARGV: the event packed, MAXLEN of the event stream, the result, seconds it is kept
local kept = redis.call('HGET', KEYS[1], 'result')
if kept then
  return kept
end
redis.call('HSET', KEYS[1], 'result', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
append(KEYS[2], ARGV[2], cmsgpack.unpack(ARGV[1]))
return ARGV[3]
