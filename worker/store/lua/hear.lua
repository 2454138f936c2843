-- Stores a webhook's event as a job, once: Linq sends an event again for up to an hour.
-- KEYS: mark of the event id, arq's job, queue
-- ARGV: seconds the mark is kept, the job, milliseconds the job is kept, job id
-- Gives 1 when it was new
if not redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[1]) then
  return 0
end
local time = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[4])
return 1
