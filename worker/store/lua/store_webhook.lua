-- Stores a webhook's event as a job, once: Linq sends an event again for up to an hour.
-- KEYS: mark of the event id, arq's job, queue
-- ARGV: seconds the mark is kept, the job, milliseconds the job is kept, job id
-- Returns 1 if it is new
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local time = redis.call('TIME')
-- The mark comes last: were it there and the job not, the event would be lost for good.
redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[4])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[1], '', 'EX', ARGV[1])
return 1
