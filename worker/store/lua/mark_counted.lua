-- Which chats a reconciliation (worker/store/reconciliation.py) has counted: sets of 52 bits of each chat's digest,
-- small enough that Redis keeps them as plain integers. Prepended to the scripts that count. `run` is the
-- reconciliation's key with the time it began.
local RECONCILIATION_TTL_SECONDS = 7200 -- a reconciliation that takes longer is given up

local function counted_key(run, chat)
  local digest = redis.sha1hex(chat)
  return run .. ':' .. string.sub(digest, 1, 3), string.format('%.0f', tonumber(string.sub(digest, 4, 16), 16))
end

local function is_counted(run, chat)
  return redis.call('SISMEMBER', counted_key(run, chat)) == 1
end

-- Returns whether it is counted only now.
local function count(run, chat)
  local key, number = counted_key(run, chat)
  if redis.call('SADD', key, number) == 0 then
    return false
  end
  redis.call('EXPIRE', key, RECONCILIATION_TTL_SECONDS)
  return true
end
