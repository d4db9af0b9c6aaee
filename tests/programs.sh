#!/bin/sh
# The programs that unit tests start on loopback (etcd, Knot, HAProxy) or ask whether they take a file (nft, keepalived, postconf,
# doveconf), in the guests' versions: unpacked below build/programs, so nothing is installed and no service of this machine starts.
# They run through their own loader; those that look for files of theirs at fixed places get a /usr and /etc of their own, with
# theirs over this machine's. Says nothing when they are there.
set -eu
cd "$(dirname "$0")/.."
base=$PWD/build/programs
programs="etcd knotd nft haproxy postconf"
placed="keepalived doveconf"
packages=etcd-server,knot,nftables,haproxy,keepalived,postfix,dovecot-imapd,dovecot-pop3d,dovecot-lmtpd,dovecot-managesieved
stamp="$packages $programs $placed $base"
[ "$(cat "$base/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
[ "$(id -u)" -eq 0 ] || { echo "programs: not root: run make test as root, or install $packages" >&2; exit 1; }
echo "programs: unpacking $packages of Debian 13 below build/"
rm -rf "$base"
mkdir -p "$base/bin"
root=$base/root
mmdebstrap --quiet --variant=extract --include="$packages" trixie "$root" ||
    { rm -rf "$base"; echo "programs: mmdebstrap could not unpack $packages; see above" >&2; exit 1; }
libraries=$root/usr/lib/x86_64-linux-gnu:$root/usr/lib/postfix
nobody=65534::/nonexistent:/usr/sbin/nologin
{ cat /etc/passwd; printf '%s\n' "dovecot:x:64001:$nobody" "dovenull:x:64002:$nobody"; } >"$root/etc/passwd" # doveconf looks for them
over="mount -t overlay -o lowerdir=$root/usr:/usr overlay /usr && mount -t overlay -o lowerdir=$root/etc:/etc overlay /etc"
for name in $programs $placed; do
    file=$(find "$root/usr/bin" "$root/usr/sbin" -name "$name" | head -n 1)
    [ -n "$file" ] || { echo "programs: $name is in none of $packages" >&2; exit 1; }
    case " $placed " in
    *" $name "*) start="unshare --mount sh -c '$over && exec \"\$0\" \"\$@\"' ${file#"$root"}" ;;
    *) start="$root/usr/lib64/ld-linux-x86-64.so.2 --argv0 \"\$0\" --library-path $libraries $file" ;;
    esac
    printf '#!/bin/sh\nexec %s "$@"\n' "$start" >"$base/bin/$name"
    chmod 755 "$base/bin/$name"
done
echo "$stamp" >"$base/stamp"
