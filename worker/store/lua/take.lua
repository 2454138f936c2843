-- Takes one token of the request budget, for a command. Gives '' when it was there, else the seconds until one may be.
-- KEYS: budget, pause; ARGV: ceiling in requests per second
local budget = open_budget(KEYS[1], tonumber(ARGV[1]), clock())
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 'paused'
end
if available(budget, 1) == 1 then
  spend(budget, 1)
  return ''
end
return exact(math.max(budget.blocked_until - budget.now, (1 - budget.tokens) / budget.rate, 0.01))
