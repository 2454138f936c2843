-- The request budget: one token bucket for every worker on this Redis. Prepended to the scripts that spend from it.
-- The arithmetic of the rate is worker/domain/policy.py's (throttled_rate, recovered_rate); a test compares them.

local BURST_SECONDS = 0.25 -- depth of the bucket: in W seconds at most rate * (W + 0.25) requests, and at least one
local CALM_SECONDS = 60 -- without a 429, before the rate recovers
local RECOVERY_SECONDS = 3600 -- from nothing to the ceiling
local CUT = 0.8
local CUT_EVERY_SECONDS = 5 -- one overload answers many requests with 429, and means one thing
local FLOOR = 0.05 -- of the ceiling

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function exact(number)
  return string.format('%.17g', number)
end

-- Reads the bucket as it is at `now`, refilled.
local function open_budget(key, ceiling, now)
  local kept = redis.call('HMGET', key, 'tokens', 'at', 'rate', 'limited_at', 'cut_at', 'blocked_until')
  local budget = {
    key = key,
    now = now,
    ceiling = ceiling,
    base = tonumber(kept[3]) or ceiling,
    limited_at = tonumber(kept[4]) or 0,
    cut_at = tonumber(kept[5]) or 0,
    blocked_until = tonumber(kept[6]) or 0,
  }
  local recovering = math.max(0, now - budget.limited_at - CALM_SECONDS)
  budget.rate = math.min(ceiling, budget.base + recovering * ceiling / RECOVERY_SECONDS)
  local depth = math.max(1, budget.rate * BURST_SECONDS)
  local gained = math.max(0, now - (tonumber(kept[2]) or 0)) * budget.rate
  budget.tokens = math.min(depth, (tonumber(kept[1]) or depth) + gained)
  return budget
end

-- Returns how many of the wanted requests may be sent now.
local function available(budget, wanted)
  if budget.now < budget.blocked_until then
    return 0
  end
  return math.min(wanted, math.floor(budget.tokens))
end

local function spend(budget, count)
  redis.call('HSET', budget.key, 'tokens', exact(budget.tokens - count), 'at', exact(budget.now))
end

-- A 429 of the account: nothing is sent for `seconds`, and less afterwards.
local function cut(budget, seconds)
  local rate = budget.rate
  if budget.now - budget.cut_at >= CUT_EVERY_SECONDS then
    rate = math.max(CUT * rate, FLOOR * budget.ceiling)
    redis.call('HSET', budget.key, 'cut_at', exact(budget.now))
  end
  redis.call('HSET', budget.key, 'rate', exact(rate), 'limited_at', exact(budget.now),
    'blocked_until', exact(math.max(budget.blocked_until, budget.now + seconds)))
end
