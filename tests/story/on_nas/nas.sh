#!/bin/sh
# Stands in for an operator's program in front of an NFS service (plugins/module_utils/adapters/external_nfs.py): here that
# is the kernel's server on this very host. WORD [IDENTITY] [ADDRESS]; status 0 only when it is done.
set -eu
root=/export/mail
clients=/proc/fs/nfsd/clients

table() {
    sed -n "s,^$root/\([^[:blank:]]*\)[[:blank:]]\([0-9.]*\)(.*,\1 \2,p" /var/lib/nfs/etab
}

say() {
    echo "$1" >&2
    exit 1
}

of() { # folders of the NFS clients with that address
    grep -l "^address: \"$1:" "$clients"/*/info 2>/dev/null | xargs -r -n 1 dirname
}

case $1 in
    check)
        mountpoint -q /export || say "/export is not mounted"
        grep -q '+4.2' /proc/fs/nfsd/versions || say "no NFSv4.2: $(cat /proc/fs/nfsd/versions)"
        ! grep "^$root/" /var/lib/nfs/etab | grep -qw async || say "an export is async"
        ;;
    list) table ;;
    admit) exportfs -o rw,sync,no_subtree_check,no_root_squash "$3:$root/$2" ;;
    withdraw) ! table | grep -qxF "$2 $3" || exportfs -u "$3:$root/$2" ;;
    expire)
        for one in $(of "$2"); do echo expire >"$one/ctl"; done
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ -n "$(of "$2")" ] || exit 0
            sleep 0.2
        done
        say "client $2 is still there"
        ;;
    *) say "no word $1" ;;
esac
