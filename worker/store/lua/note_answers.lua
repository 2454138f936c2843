-- Which chats of a line were answered lately: a HyperLogLog for every few seconds. Prepended to the scripts that count.
local ANSWERS_SECONDS = 5 -- of one
local ANSWERS_KEPT = 130 -- seconds: a window of two minutes, and what has begun of the next

-- `begin` is the prefix of the line's keys.
local function note_answers(begin, chats, now)
  local key = begin .. math.floor(now / ANSWERS_SECONDS)
  redis.call('PFADD', key, unpack(chats))
  redis.call('EXPIRE', key, ANSWERS_KEPT)
end

-- Returns how many chats were answered from `first`, a number of such seconds, to `now`.
local function count_answers(begin, first, now)
  local keys = {}
  for number = first, math.floor(now / ANSWERS_SECONDS) do
    keys[#keys + 1] = begin .. number
  end
  return #keys > 0 and redis.call('PFCOUNT', unpack(keys)) or 0
end
