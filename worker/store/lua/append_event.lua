-- Appends an event to the stream (docs/reference/events.md). Prepended to the scripts that publish.
-- An event: id, source, type, subject, time, content type, sequence, reference, data. Subject and reference are left
-- out if they are empty: CloudEvents has no empty attributes.
local function append(stream, maxlen, event)
  local fields = { 'specversion', '1.0', 'id', event[1], 'source', event[2], 'type', event[3] }
  local size = 8
  local function put(name, value)
    fields[size + 1], fields[size + 2] = name, value
    size = size + 2
  end
  if event[4] ~= '' then
    put('subject', event[4])
  end
  put('time', event[5])
  put('datacontenttype', event[6])
  put('dataschema', 'urn:location-worker:' .. event[3] .. ':1')
  put('sequence', event[7])
  if event[8] ~= '' then
    put('reference', event[8])
  end
  put('data', event[9])
  if maxlen == '0' then
    redis.call('XADD', stream, '*', unpack(fields))
  else
    redis.call('XADD', stream, 'MAXLEN', '~', maxlen, '*', unpack(fields))
  end
end
