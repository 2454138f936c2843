-- Appends an event to the stream (docs/reference/events.md). Put in front of the scripts that publish.
-- An event: id, source, type, subject, time, content type, sequence, reference, data
local function append(stream, maxlen, event)
  local fields = {
    'specversion', '1.0', 'id', event[1], 'source', event[2], 'type', event[3], 'subject', event[4], 'time', event[5],
    'datacontenttype', event[6], 'dataschema', 'urn:location-worker:' .. event[3] .. ':1', 'sequence', event[7],
    'reference', event[8], 'data', event[9],
  }
  if maxlen == '0' then
    redis.call('XADD', stream, '*', unpack(fields))
  else
    redis.call('XADD', stream, 'MAXLEN', '~', maxlen, '*', unpack(fields))
  end
end
