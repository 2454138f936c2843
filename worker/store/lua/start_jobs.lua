-- Marks due jobs of the queue as running unless they are marked already, as arq does one by one.
-- KEYS: queue; ARGV: prefix of the marks, milliseconds they stay, job ids
-- Returns the time of each job that may start now (arq's score, milliseconds), nil for the others
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for index = 3, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[index])
  local may = score and tonumber(score) ~= 0 and tonumber(score) <= now
  if may and not redis.call('SET', ARGV[1] .. ARGV[index], '1', 'PX', ARGV[2], 'NX') then
    may = false
  end
  answer[index - 2] = may and score
end
return answer
