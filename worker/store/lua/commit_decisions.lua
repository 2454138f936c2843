-- Writes decisions about a batch of chats: state, events, latest view and next due time of each, all or nothing.
-- A chat whose due time is no longer the one that the decision was based on is skipped: something newer has happened.
-- KEYS: due, events, geo, fleet, queue
-- ARGV: prefix of the share keys, of the latest views, name of the hash of handles, MAXLEN of the event stream, the
--   items packed, prefix of arq's jobs, milliseconds a job is kept, prefix of the keys of answered chats
-- An item: chat id, expected due time (false: not tracked), expected state (false: not compared), state (false:
--   unchanged), next due time (false: ended), seconds the state is kept after the end (false: as it was), changes of
--   the fleet's sums, events, views, the line of a chat whose read was answered ('' not known; false or left out: it
--   was not), jobs to queue (id and content; left out where there are none)
-- Returns: 1 or 0 for each item
local SUMS = { 'weights', 'wanted', 'tracking', 'pending', 'requested', 'accepted', 'announced' }
local MAX_LATITUDE = 85.05112878 -- beyond, a geo set has no place

-- A view: handle, its digest, number of the event whose data is shown (false: remove), longitude, latitude
local function show(chat, view, events)
  local latest, digest = ARGV[2] .. chat, view[2]
  local shown = redis.call('HGET', ARGV[3], digest)
  if view[3] then
    redis.call('HSET', latest, view[1], events[view[3]][9])
    if not shown then
      redis.call('HSET', ARGV[3], digest, chat)
    elseif not string.find(' ' .. shown .. ' ', ' ' .. chat .. ' ', 1, true) then
      redis.call('HSET', ARGV[3], digest, shown .. ' ' .. chat)
    end
    if math.abs(view[5]) <= MAX_LATITUDE then
      redis.call('GEOADD', KEYS[3], view[4], view[5], view[1])
      return
    end
  else
    redis.call('HDEL', latest, view[1])
    local others = {}
    for other in string.gmatch(shown or '', '%S+') do
      if other ~= chat then
        others[#others + 1] = other
      end
    end
    if #others > 0 then
      redis.call('HSET', ARGV[3], digest, table.concat(others, ' '))
      return -- readable in another tracked chat, too
    end
    redis.call('HDEL', ARGV[3], digest)
  end
  redis.call('ZREM', KEYS[3], view[1])
end

local answered = {}
local function note(chat, line)
  local chats = answered[line]
  if chats then
    chats[#chats + 1] = chat
  else
    answered[line] = { chat }
  end
end

local totals = KEYS[4] .. ':census'
local began_at = redis.call('HGET', totals, 'began_at')
local run = began_at and totals .. ':' .. began_at
local sums, counted, answer = {}, {}, {}
for index, item in ipairs(cmsgpack.unpack(ARGV[5])) do
  local chat, expected, state = item[1], item[2], ARGV[1] .. item[1]
  local score = redis.call('ZSCORE', KEYS[1], chat)
  local fits = (score and tonumber(score) or false) == expected
  if fits and item[3] then
    fits = (redis.call('GET', state) or '') == item[3]
  end
  answer[index] = fits and 1 or 0
  if fits then
    if item[5] then
      if item[4] then
        redis.call('SET', state, item[4])
      end
      redis.call('ZADD', KEYS[1], item[5], chat)
    else
      if item[4] and item[6] then
        redis.call('SET', state, item[4], 'EX', item[6])
      elseif item[4] then
        redis.call('SET', state, item[4], 'KEEPTTL')
      else
        redis.call('EXPIRE', state, item[6])
      end
      redis.call('ZREM', KEYS[1], chat)
    end
    for _, event in ipairs(item[8]) do
      append(KEYS[2], ARGV[4], event)
    end
    for _, view in ipairs(item[9]) do
      show(chat, view, item[8])
    end
    if item[10] then
      note(chat, 'all')
      if item[10] ~= '' then
        note(chat, item[10])
      end
    end
    for _, job in ipairs(item[11] or {}) do
      redis.call('SET', ARGV[6] .. job[1], job[2], 'PX', ARGV[7])
      local time = redis.call('TIME')
      redis.call('ZADD', KEYS[5], time[1] * 1000 + math.floor(time[2] / 1000), job[1])
    end
    -- A share that begins now may be passed over by the reconciliation that is under way: it counts at once.
    local counts = run and ((not score and count(run, chat)) or is_counted(run, chat))
    for position, change in ipairs(item[7]) do
      sums[position] = (sums[position] or 0) + change
      if counts and position <= 5 then
        counted[position] = (counted[position] or 0) + change
      end
    end
  end
end
if next(answered) then
  local time = redis.call('TIME')
  for line, chats in pairs(answered) do
    note_answers(ARGV[8] .. line .. ':', chats, tonumber(time[1]))
  end
end
for position, change in pairs(sums) do
  if change ~= 0 then
    redis.call('HINCRBY', KEYS[4], SUMS[position], string.format('%d', change))
  end
end
for position, change in pairs(counted) do
  redis.call('HINCRBY', totals, SUMS[position], string.format('%d', change))
end
return answer
