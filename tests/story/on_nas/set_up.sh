#!/bin/sh
# A plain NFS server with an empty folder for each identity, as docs/runbooks/store.md asks an operator for. It may be run again.
#
# sh - IDENTITIES RELAYS      names, with blanks between them
set -eu
blkid /dev/ubdb >/dev/null || mkfs.ext4 -q /dev/ubdb
mkdir -p /export
mountpoint -q /export || mount /dev/ubdb /export
for name in $1 $2; do install -d -m 0755 "/export/mail/$name" "/export/mail/$name/queue"; done
for name in $1; do install -d -m 0700 -o 2005 -g 2005 "/export/mail/$name/mail"; done
printf '[nfsd]\nlease-time=10\ngrace-time=10\nthreads=8\n' >/etc/nfs.conf.d/nas.conf
systemctl start nfs-server
