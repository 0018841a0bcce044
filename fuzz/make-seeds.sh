#!/usr/bin/env bash
# Makes the seeds from the captured fixtures: a message (or a frame) each, and for the assembler a whole
# stream each. Begins, commits and
# relations that differ from another only in their numbers are left out.
set -euo pipefail
cd "$(dirname "$0")"
rm -rf seeds
mkdir -p seeds/pgoutput seeds/frame seeds/assembler seeds/drift seeds/fold

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

# See tests/drift/scripted.rs: how the table is, then three bytes for each operation.
drift() { xxd -r -p <<<"$2" >"seeds/drift/$1"; }
drift added "00 000101 060301 000209 050403 000308"
drift dropped "00 000102 090100 000304"
drift renamed "00 000102 0a0003 000304 060002 000405"
drift exchanged "00 000102 0b0001 000304"
drift widened "00 000102 0c0001 0c0002 000304 0c0003 000506"
drift numeric "00 000102 0c0205 000304 0c0206 000506"
drift excluded "00 000102 100100 000405 100100"
drift ahead "48 000101 060301 000209 060403 000308 000102"
drift rewritten "00 0e0100 000102"
drift vacuumed "00 0f0000 000304"
drift computed "00 070301 080300 000102"
drift moved_up "00 090200 0a0102 0a0001 0e0200"
drift another_key "00 110002 000102 110103"
drift identity "00 120100 000102 120200 000304"
drift filtered "00 130200 000202 000309"
drift listed "00 140100 000102 140200"
drift unpublished "00 150309 000102"
drift partitioned "01 060303 000102 0f0000"
drift attached "01 160001 000102 160100"
drift included "02 100000 000102 100000 000304"
drift anew "00 170001 000102 170000"

# See tests/assembler/scripted.rs: what is there, ids, cuts, then three bytes for each operation; 1f ends a transaction.
fold() { xxd -r -p <<<"$2" >"seeds/fold/$1"; }
fold inserted "00 00 ff 000001 000101 1f0000 000202 010303"
fold updated "02 00 35 000002 000102 060004 060005 1f0000 060107 068009"
fold moved "02 1b 21 000002 000104 0c0902 1f0000 0c0903 0c0a05 1f0000 121200"
fold deleted "02 00 f0 000002 000102 120000 000003 1f0000 120100 120000"
fold again "01 00 ff 000002 160004 160006 1f0000 160005"
fold truncated "02 00 13 000002 200102 19ff00 000103 1f0000 190100 200005"
fold pair "02 e4 42 400002 400102 4c0a03 4c1405 1f0000 460107 520200"
fold whole "02 00 51 800002 800102 868003 8c0a05 1f0000 920200 800001"
fold number "02 00 24 a00002 a00102 ac0903 a60105 1f0000 b20000 a00002"
fold rows "02 00 31 c00002 c00102 c60003 c60104 1f0000 d20000 e00001"
fold formed "01 00 62 000002 1b0100 060005 1a0000 1f0000 1b0200 000104 1c0100 1c0000"
