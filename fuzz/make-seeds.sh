#!/usr/bin/env bash
# Makes the seeds from the captured fixtures: a message (or a frame) each, and for the assembler a whole
# stream each. Begins, commits and
# relations that differ from another only in their numbers are left out.
set -euo pipefail
cd "$(dirname "$0")"
rm -rf seeds
mkdir -p seeds/pgoutput seeds/frame seeds/assembler

for file in ../tests/fixtures/pgoutput/*.hex; do
    scenario=$(basename "$file" .hex)
    line=0
    while read -r hex; do
        line=$((line + 1))
        case $hex in
            42* | 43*) [ "$scenario" = insert.text ] || continue ;;
            52*) [ "${scenario#*.}" = text ] || continue ;;
        esac
        xxd -r -p <<<"$hex" >"seeds/pgoutput/$scenario.$line"
    done <"$file"
done

line=0
while read -r hex; do
    line=$((line + 1))
    xxd -r -p <<<"$hex" >"seeds/frame/$line"
done <../tests/fixtures/replication/frames.hex

# See tests/assembler/any.rs: how the tables stand, then each message with its length; each commit ends a batch.
standing=0
for file in ../tests/fixtures/pgoutput/*.hex; do
    scenario=$(basename "$file" .hex)
    [[ $scenario != message_* ]] || continue
    {
        printf '%02x' $((standing % 16))
        while read -r hex; do
            printf '%04x%s' $((${#hex} / 2)) "$hex"
            [[ $hex != 43* ]] || printf '0000'
        done <"$file"
    } | xxd -r -p >"seeds/assembler/$scenario"
    standing=$((standing + 1))
done
