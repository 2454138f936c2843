-- Reads chats as they are stored, without claiming them.
-- KEYS: due, budget, fleet; ARGV: prefix of the share keys, chat ids
-- Returns: seconds and microseconds of Redis' clock, the fleet's sums, rate and time of the last cut of the budget,
--   then the state and due time of each chat; nil if there is none
local time = redis.call('TIME')
local fleet = redis.call('HMGET', KEYS[3], 'weights', 'tracking', 'wanted', 'accepted', 'announced')
local budget = redis.call('HMGET', KEYS[2], 'rate', 'limited_at')
local answer = { time[1], time[2], fleet[1], fleet[2], fleet[3], fleet[4], fleet[5], budget[1], budget[2] }
for index = 2, #ARGV do
  answer[#answer + 1] = redis.call('GET', ARGV[1] .. ARGV[index])
  answer[#answer + 1] = redis.call('ZSCORE', KEYS[1], ARGV[index])
end
return answer
