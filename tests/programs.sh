#!/bin/sh
# The programs that unit tests start on loopback (etcd, Knot) and nft, in the guests' versions: unpacked below build/programs and
# run through their own loader, so nothing is installed and no service of this machine starts. Says nothing when they are there.
set -eu
cd "$(dirname "$0")/.."
base=$PWD/build/programs
programs="etcd knotd nft"
packages=etcd-server,knot,nftables
stamp="$packages $programs $base"
[ "$(cat "$base/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
[ "$(id -u)" -eq 0 ] || { echo "programs: not root: run make test as root, or install $packages" >&2; exit 1; }
echo "programs: unpacking $packages of Debian 13 below build/"
rm -rf "$base"
mkdir -p "$base/bin"
mmdebstrap --quiet --variant=extract --include="$packages" trixie "$base/root" ||
    { rm -rf "$base"; echo "programs: mmdebstrap could not unpack $packages; see above" >&2; exit 1; }
for name in $programs; do
    file=$(find "$base/root/usr/bin" "$base/root/usr/sbin" -name "$name" | head -n 1)
    [ -n "$file" ] || { echo "programs: $name is in none of $packages" >&2; exit 1; }
    cat >"$base/bin/$name" <<WRAPPER
#!/bin/sh
exec $base/root/usr/lib64/ld-linux-x86-64.so.2 --argv0 "\$0" --library-path $base/root/usr/lib/x86_64-linux-gnu $file "\$@"
WRAPPER
    chmod 755 "$base/bin/$name"
done
echo "$stamp" >"$base/stamp"
