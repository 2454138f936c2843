-- Ends a reconciliation: the fleet's sums become what was counted, if all was.
-- KEYS: fleet, reconciliation, mark of the rest; ARGV: seconds of rest, '1' if all was counted
-- Returns by how much weights, wanted, tracking, pending and requested were wrong; nothing where no reconciliation runs
local SUMS = { 'weights', 'wanted', 'tracking', 'pending', 'requested' }
local began_at = redis.call('HGET', KEYS[2], 'began_at')
if not began_at then
  return {}
end
local answer = {}
for position, name in ipairs(ARGV[2] == '1' and SUMS or {}) do
  local right = redis.call('HGET', KEYS[2], name) or '0'
  answer[position] = string.format('%d', tonumber(right) - (tonumber(redis.call('HGET', KEYS[1], name)) or 0))
  if answer[position] ~= '0' then
    redis.call('HSET', KEYS[1], name, right)
  end
end
redis.call('UNLINK', KEYS[2])
for bucket = 0, 4095 do
  redis.call('UNLINK', KEYS[2] .. ':' .. began_at .. ':' .. string.format('%03x', bucket))
end
redis.call('SET', KEYS[3], '', 'EX', ARGV[1])
return answer
