-- Makes chats due that wait because their line is lost. A line for which none waits is no longer lost.
-- KEYS: the line's waiting chats, due, the line's pause, the lost lines
-- ARGV: how many (0: one, which goes on waiting, to find out whether the line is back), seconds of a lease, line
-- Returns how many of the waiting chats were handled; a chat whose due time may be a lease, or that is no longer
-- tracked, stays as it is.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function wake(chat)
  local score = redis.call('ZSCORE', KEYS[2], chat)
  if score and tonumber(score) > now + tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[2], string.format('%.17g', now), chat)
  end
  return score
end

local looked = 0
if ARGV[1] == '0' then
  local chat = redis.call('SRANDMEMBER', KEYS[1])
  while chat and looked < 1000 do
    looked = looked + 1
    if wake(chat) then
      return looked
    end
    redis.call('SREM', KEYS[1], chat)
    chat = redis.call('SRANDMEMBER', KEYS[1])
  end
else
  local chats = redis.call('SPOP', KEYS[1], ARGV[1])
  looked = #chats
  for _, chat in ipairs(chats) do
    wake(chat)
  end
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[3])
  redis.call('SREM', KEYS[4], ARGV[3])
end
return looked
