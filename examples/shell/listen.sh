#!/bin/sh
# Print the events over HTTP, one CloudEvent a line, and go on where the connection broke.
#
#   VIEW_TOKEN=… sh listen.sh [URL]         # needs curl
url=${1:-http://localhost:8080}
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT INT TERM
echo "${AFTER:-0}" > "$folder/after"
touch "$folder/seen" # ids: the same fact can come again, under the same one

while :; do
    curl --silent --no-buffer --header "Authorization: Bearer $VIEW_TOKEN" "$url/events?after=$(cat "$folder/after")" |
        while read -r line; do
            case $line in
            "id: "*) echo "${line#id: }" > "$folder/after" ;;
            "data: "*)
                id=${line#*\"id\":\"} && id=${id%%\"*}
                grep -qxF "$id" "$folder/seen" || printf '%s\n' "${line#data: }"
                printf '%s\n' "$id" >> "$folder/seen"
                ;;
            esac
        done
    sleep 1
done
