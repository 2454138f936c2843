-- Claims due chats, most overdue first, each with a lease and a token of the request budget, and returns their states.
-- While everything is paused, one chat a minute is claimed as a probe.
-- KEYS: due, budget, pause, fleet
-- ARGV: prefix of the share keys, largest number of chats, lease in seconds, ceiling in requests per second, one chat
--   only ('' any), seconds between probes
-- Returns: now, requests per second, tokens left, paused (0, 1, 2: this claim is the probe), next due time or '', the
--   fleet's sums, then chat id and state ('' if it is lost) of each claimed chat
local now = clock()
local wanted = tonumber(ARGV[2])
local only = ARGV[5]
local paused = 0
local probe_at = redis.call('HGET', KEYS[3], 'probe_at')
if probe_at then
  paused = 1
  if now < tonumber(probe_at) then
    wanted = 0
  else
    wanted = 1
    only = ''
  end
end

local budget = open_budget(KEYS[2], tonumber(ARGV[4]), now)
local allowed = available(budget, wanted)
local chats = {}
if allowed > 0 then
  if only ~= '' then
    local score = redis.call('ZSCORE', KEYS[1], only)
    if score and tonumber(score) <= now then
      chats = { only }
    end
  elseif paused == 1 then
    -- The next chat, due or not: the question is whether the account works again.
    chats = redis.call('ZRANGE', KEYS[1], 0, 0)
  else
    chats = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', exact(now), 'LIMIT', 0, allowed)
  end
end

local next_due = ''
if #chats < wanted then
  local nearest = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. exact(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  next_due = nearest[2] or ''
end

local fleet = redis.call('HMGET', KEYS[4], 'weights', 'tracking', 'wanted', 'accepted', 'announced')
local tokens = now < budget.blocked_until and 0 or budget.tokens - #chats
local answer = { exact(now), exact(budget.rate), exact(tokens), paused, next_due,
  fleet[1] or 0, fleet[2] or 0, fleet[3] or 0, fleet[4] or 0, fleet[5] or 0 }
if #chats == 0 then
  return answer
end

spend(budget, #chats)
if paused == 1 then
  answer[4] = 2
  redis.call('HSET', KEYS[3], 'probe_at', exact(now + tonumber(ARGV[6])))
end
local lease = exact(now + tonumber(ARGV[3]))
local leases, keys = {}, {}
for index, chat in ipairs(chats) do
  leases[#leases + 1] = lease
  leases[#leases + 1] = chat
  keys[index] = ARGV[1] .. chat
end
redis.call('ZADD', KEYS[1], unpack(leases))
local states = redis.call('MGET', unpack(keys))
for index, chat in ipairs(chats) do
  if not states[index] then
    redis.call('ZREM', KEYS[1], chat)
  end
  answer[#answer + 1] = chat
  answer[#answer + 1] = states[index] or ''
end
return answer
