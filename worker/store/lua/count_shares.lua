-- Counts shares in the running reconciliation if their state is still the one from which their part was computed, and
-- puts those that have dropped out of the schedule back into it.
-- KEYS: due, reconciliation
-- ARGV: prefix of the share keys, cursor to go on from, then of each share: chat id, its state, weights, wanted,
--   tracking, pending, requested (all of a share that has not ended)
-- Returns: how many were put back, then the chats that have changed meanwhile; nothing where no reconciliation runs
local SUMS = { 'weights', 'wanted', 'tracking', 'pending', 'requested' }
local began_at = redis.call('HGET', KEYS[2], 'began_at')
if not began_at then
  return {}
end
local run = KEYS[2] .. ':' .. began_at
local time = redis.call('TIME')
local sums, answer = { 0, 0, 0, 0, 0 }, { 0 }
for index = 3, #ARGV, 7 do
  local chat = ARGV[index]
  if redis.call('GET', ARGV[1] .. chat) ~= ARGV[index + 1] then
    answer[#answer + 1] = chat
  else
    if not redis.call('ZSCORE', KEYS[1], chat) then
      redis.call('ZADD', KEYS[1], time[1] .. '.' .. string.format('%06d', time[2]), chat)
      answer[1] = answer[1] + 1
    end
    if count(run, chat) then
      for position = 1, 5 do
        sums[position] = sums[position] + tonumber(ARGV[index + 1 + position])
      end
    end
  end
end
for position, change in ipairs(sums) do
  if change ~= 0 then
    redis.call('HINCRBY', KEYS[2], SUMS[position], string.format('%d', change))
  end
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[2], 'cursor', ARGV[2])
end
return answer
