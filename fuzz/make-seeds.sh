#!/usr/bin/env bash
# Makes the seeds from the captured fixtures: a message (or a frame) each, and for the assembler a whole
# stream each. Begins, commits and
# relations that differ from another only in their numbers are left out.
set -euo pipefail
cd "$(dirname "$0")"
rm -rf seeds
mkdir -p seeds/pgoutput seeds/frame seeds/assembler seeds/drift seeds/fold seeds/greeting seeds/certificates seeds/catalog

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
drift identity_and_back "540800000000001600000000005900b6180000426b000000"
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

# See tests/connect/played.rs: options, then each turn with its length.
be() { printf "%0$((2 * $1))x" "$2"; } # a number in so many bytes
text() { printf '%s' "$1" | xxd -p | tr -d '\n'; }
message() { # a tag, and the body in hex
    printf '%s%s%s' "$(text "$1")" "$(be 4 $((${#2} / 2 + 4)))" "$2"
}
greeting() { # a name, options, a turn each
    local name=$1 turn
    {
        printf '%s' "$2"
        shift 2
        for turn; do printf '%s%s' "$(be 2 $((${#turn} / 2)))" "$turn"; done
    } | xxd -r -p >"seeds/greeting/$name"
}
ready=$(message Z 49)
ok=$(message R 00000000)
done_=$(message C "$(text SET)00")
parameters=$(message S "$(text server_version)00$(text 15.4)00")$(message S "$(text server_encoding)00$(text UTF8)00")
key=$(message K 0000123400005678)
notice=$(message N "$(text SNOTICE)00$(text C00000)00$(text Mhello)0000")
fatal=$(message E "$(text SFATAL)00$(text C28000)00$(text Mno)00$(text Dnot)00$(text Hnever)0000")
row=$(message T "0001$(text f)00$(be 4 0)$(be 2 0)$(be 4 16)$(be 2 1)ffffffff$(be 2 0)")$(message D "000100000001$(text f)")
nonce=clientclientclientclient
scram=$(message R "0000000a$(text SCRAM-SHA-256)00$(text SCRAM-SHA-256-PLUS)0000")
first=$(message R "0000000b$(text "r=${nonce}server,s=QSXCR+Q6sek8bf92,i=1")")
final=$(message R "0000000c$(text v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=)")
greeting sql 00 "$ok$parameters$key$ready" "$done_$row$done_$ready" "$row$done_$ready"
greeting replication 01 "$ok$parameters$key$ready" "$done_$row$done_$ready" "$row$done_$ready" "$row$done_$ready"
greeting aside 01 "$notice$ok$notice$parameters$key$notice$ready" "$notice$row$done_$parameters$ready" "$fatal$ready"
greeting fatal 00 "$fatal"
greeting late_fatal 01 "$ok$parameters$fatal"
greeting scram 02 "$scram" "$first" "$final" "$ok$ready"
greeting scram_again 03 "$scram" "$first$final" "$(message R "0000000c$(text e=other-error)")"
greeting md5 06 "$(message R 0000000501020304)" "$ok$key$ready" "$row$done_$ready" "$row$done_$ready"
greeting cleartext 0a "$(message R 00000003)" "$ok$ready"
greeting gss 02 "$(message R 00000007)"
greeting negotiate 00 "$(message v "000300000000000200000000")$ok$ready"
greeting without_password 00 "$scram"
greeting required 0e "$ok$ready" "$row$done_$ready" "$row$done_$ready"

# Certificates of today, valid for ten years; the keys are thrown away.
keys=$(mktemp -d)
certificate() { # a file, then what openssl is to make
    openssl req -x509 -nodes -keyout "$keys/$1.key" -out "$keys/$1.pem" -days 3650 "${@:2}" 2>"$keys/log"
}
alternative=subjectAltName=DNS:localhost,IP:127.0.0.1
certificate self_signed -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=localhost -addext "$alternative"
certificate authority -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=ours
certificate ed25519 -newkey ed25519 -subj /CN=localhost -addext "$alternative"
certificate rsa_sha512 -newkey rsa:2048 -sha512 -subj /CN=localhost
openssl req -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -keyout "$keys/key" -out "$keys/csr" -subj /CN=localhost 2>"$keys/log"
openssl x509 -req -in "$keys/csr" -CA "$keys/authority.pem" -CAkey "$keys/authority.key" -CAcreateserial -days 3650 \
    -extfile <(echo "$alternative") -out "$keys/server.pem" 2>"$keys/log"
for name in self_signed ed25519 rsa_sha512; do cp "$keys/$name.pem" "seeds/certificates/$name"; done
cat "$keys/server.pem" "$keys/authority.pem" >seeds/certificates/chain
head -3 "$keys/self_signed.pem" >seeds/certificates/cut_off
openssl x509 -in "$keys/self_signed.pem" -outform DER >seeds/certificates/der
rm -rf "$keys"

# What a real source says of its catalog is recorded by tests/connect/recorded.rs.
ODOO_MIRROR_RECORD=1 cargo test --manifest-path ../Cargo.toml --no-default-features --test connect recorded
