#!/bin/sh
# Ask a contact for the location, and print what happens, one CloudEvent a line, until the share ends.
#
#   sh follow.sh CHAT_ID [REFERENCE]        # needs redis-cli and awk
set -eu
chat=$1 reference=${2:-order-7} prefix=${KEY_PREFIX:-location}
redis() { redis-cli -u "${REDIS_URL:-redis://localhost:6379/0}" "$@"; }

# The fields of an entry are a CloudEvent's attributes: text, but its data, which is JSON.
cloud_events() {
    awk '!name && /^[0-9]+-[0-9]+$/ { if (event) print event "}"; event = ""; next }
        !name { name = $0; next }
        {
            if (name != "data") { gsub(/["\\]/, "\\\\&"); $0 = "\"" $0 "\"" }
            event = event (event ? "," : "{") "\"" name "\":" $0
            name = ""
        }
        END { if (event) print event "}" }'
}

seen=$(mktemp) # ids: the same fact can come again, under the same one
trap 'rm -f "$seen"' EXIT
last=$(redis XREVRANGE "$prefix:events" + - COUNT 1 | head -n 1)
job=$(uuidgen 2>/dev/null || cat /proc/sys/kernel/random/uuid) now=$(date +%s)000
redis >/dev/null <<END
MULTI
SET arq:job:$job '{"t": null, "f": "request_location", "a": [], "k": {"chat_id": "$chat", "reference": "$reference"}, "et": $now}' PX 86400000
ZADD $prefix:jobs $now $job
EXEC
END
until result=$(redis GET "arq:result:$job") && [ "$result" ]; do sleep 0.2; done
printf '%s\n' "$result" >&2

while :; do
    # The first line is the name of the stream.
    entries=$(redis XREAD COUNT 100 BLOCK 5000 STREAMS "$prefix:events" "${last:-0}" | tail -n +2)
    [ "$entries" ] || continue
    last=$(printf '%s\n' "$entries" | grep -E '^[0-9]+-[0-9]+$' | tail -n 1)
    events=$(printf '%s\n' "$entries" | cloud_events)
    printf '%s\n' "$events" | while read -r event; do
        id=${event#*\"id\":\"} && id=${id%%\"*}
        grep -qxF "$id" "$seen" || printf '%s\n' "$event"
        printf '%s\n' "$id" >> "$seen"
    done
    if printf '%s\n' "$events" | grep -q "\"location.tracking.ended\".*\"reference\":\"$reference\""; then exit; fi
done
