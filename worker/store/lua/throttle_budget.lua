-- After a 429 on a read, all requests wait, and fewer are sent from then on.
-- KEYS: budget; ARGV: ceiling in requests per second, seconds until the next request
cut(open_budget(KEYS[1], tonumber(ARGV[1]), clock()), tonumber(ARGV[2]))
return redis.status_reply('OK')
