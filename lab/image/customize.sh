#!/bin/sh
# Turns the freshly installed root ($1) into a lab guest: hook of mmdebstrap, run outside the root.
# $2 holds this folder's `files`, $3 the kernel's module lists.
set -eu
root=$1 files=$2 kernel=$3

cp -a --no-preserve=ownership "$files/." "$root/"

# Everything is built into the kernel; with these lists `modprobe nfs` is the no-op it should be.
release=$(cat "$kernel/release")
mkdir -p "$root/lib/modules/$release"
cp "$kernel/modules.builtin" "$kernel/modules.builtin.modinfo" "$kernel/modules.order" "$root/lib/modules/$release/"
chroot "$root" depmod "$release"

# The lab brings the host key; a key shared by all machines made from one image is none.
rm -f "$root"/etc/ssh/ssh_host_*
rm -rf "$root"/etc/update-motd.d "$root"/etc/motd
: > "$root/etc/machine-id"
echo 'LANG=C.UTF-8' > "$root/etc/locale.conf"
echo 'LANG=C.UTF-8' > "$root/etc/default/locale"
echo 'unconfigured' > "$root/etc/hostname"
: > "$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
printf '/dev/ubda / ext4 errors=remount-ro 0 0\n' > "$root/etc/fstab"
mkdir -p "$root/var/log/journal" "$root/var/lib/lab"

chroot "$root" systemctl --quiet preset-all

# Ctrl-Alt-Del is the one button a guest has, and the lab presses it to power off.
ln -sf /usr/lib/systemd/system/poweroff.target "$root/etc/systemd/system/ctrl-alt-del.target"

# Start to ssh: 12 s with all of these, half of it without.
mask() { ln -sf /dev/null "$root/etc/systemd/system/$1"; }
for unit in getty@.service serial-getty@.service console-getty.service getty.target \
    modprobe@.service kmod-static-nodes.service systemd-hwdb-update.service ldconfig.service \
    systemd-firstboot.service systemd-binfmt.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-pstore.service systemd-vconsole-setup.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount dev-hugepages.mount proc-sys-fs-binfmt_misc.automount \
    systemd-hibernate-clear.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service; do
    mask "$unit"
done
# fstab, NFS ordering and Postfix instances keep their generators; these have nothing to generate.
mkdir -p "$root/etc/systemd/system-generators"
for generator in "$root"/usr/lib/systemd/system-generators/*; do
    case ${generator##*/} in
    systemd-fstab-generator | nfs-server-generator | rpc-pipefs-generator | postfix-instance-generator) ;;
    *) ln -sf /dev/null "$root/etc/systemd/system-generators/${generator##*/}" ;;
    esac
done

rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/var/cache/apt/*
