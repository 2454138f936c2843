-- Marks jobs of the queue as running, those that are due and not marked yet, as arq does one by one.
-- KEYS: queue; ARGV: prefix of the marks, milliseconds they stay, now in milliseconds by the worker's clock, job ids
-- Returns the time of each job that may start now (arq's score, milliseconds), nil for the others
local now = tonumber(ARGV[3])
local answer = {}
for index = 4, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[index])
  local may = score and tonumber(score) ~= 0 and tonumber(score) <= now
  if may and not redis.call('SET', ARGV[1] .. ARGV[index], '1', 'PX', ARGV[2], 'NX') then
    may = false
  end
  answer[index - 3] = may and score
end
return answer
