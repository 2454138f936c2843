-- Takes one token of the request budget, for a command. Returns '' if there was one, else the seconds until there may
-- be one. While everything is paused it returns 'paused', or 'probe' if this command may find out whether the account
-- works again: once a minute, and only while no chat is tracked, because otherwise a read does.
-- KEYS: budget, pause, due (left out: no probe); ARGV: ceiling in requests per second, seconds between probes
local budget = open_budget(KEYS[1], tonumber(ARGV[1]), clock())
local probe_at = redis.call('HGET', KEYS[2], 'probe_at')
if probe_at then
  if not KEYS[3] or budget.now < tonumber(probe_at) or redis.call('EXISTS', KEYS[3]) == 1 then
    return 'paused'
  end
end
if available(budget, 1) == 1 then
  spend(budget, 1)
  if probe_at then
    redis.call('HSET', KEYS[2], 'probe_at', exact(budget.now + tonumber(ARGV[2])))
    return 'probe'
  end
  return ''
end
return exact(math.max(budget.blocked_until - budget.now, (1 - budget.tokens) / budget.rate, 0.01))
