-- Records that a chat was refused, and counts the chats that were refused and answered: lately, and since this one was
-- first refused; among all chats, and among those of its line.
-- KEYS: due, then for all, and for the line if it is known: the pause, the refused chats
-- ARGV: chat id, seconds that count as lately, when the chat was first refused ('' now), '1' to count, then the
--       prefixes of the keys of answered chats: for all, and for the line
-- Returns: tracked chats, then for all, and for the line: whether chats wait already, refused and answered lately,
--          refused and answered since (-1: that is just now). If it does not count, or chats wait, the numbers are 0
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local window = tonumber(ARGV[2])
local answer = { redis.call('ZCARD', KEYS[1]) }
local waiting = false
for index = 5, #ARGV do
  local pause, refused = KEYS[2 * index - 8], KEYS[2 * index - 7]
  redis.call('ZADD', refused, string.format('%.17g', now), ARGV[1])
  redis.call('ZREMRANGEBYSCORE', refused, '-inf', string.format('(%.17g', now - window))
  redis.call('EXPIRE', refused, window)
  note_answers(ARGV[index], { ARGV[1] }, now)
  local waits = redis.call('EXISTS', pause)
  waiting = waiting or waits == 1
  for _, number in ipairs({ waits, 0, 0, 0, -1 }) do
    answer[#answer + 1] = number
  end
end
if waiting or ARGV[4] ~= '1' then
  return answer
end
-- What was answered in the same few seconds, but before, does not count.
local first = ARGV[3] ~= '' and math.ceil(math.max(tonumber(ARGV[3]), now - window) / ANSWERS_SECONDS)
for index = 5, #ARGV do
  local refused, begin, place = KEYS[2 * index - 7], ARGV[index], 5 * index - 22
  answer[place] = redis.call('ZCARD', refused)
  answer[place + 1] = count_answers(begin, math.floor((now - window) / ANSWERS_SECONDS) + 1, now)
  if first and first <= math.floor(now / ANSWERS_SECONDS) then
    answer[place + 2] = redis.call('ZCOUNT', refused, first * ANSWERS_SECONDS, '+inf')
    answer[place + 3] = count_answers(begin, first, now)
  end
end
return answer
