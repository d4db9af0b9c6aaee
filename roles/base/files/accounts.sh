#!/bin/sh
# Makes accounts with fixed ids and masks units; says "changed …" for each thing that it did.
#   accounts.sh [--check] NAME:UID:GID… mask:UNIT…      an empty UID: a group only
# An account that exists with another id is refused before anything is done: its files would change hands.
set -eu

check=
if [ "${1:-}" = --check ]; then
    check=1
    shift
fi

for word in "$@"; do
    case $word in mask:*) continue ;; esac
    name=${word%%:*} ids=${word#*:}
    uid=${ids%%:*} gid=${ids#*:}
    have=$(getent group "$name" | cut -d: -f3)
    if [ -n "$have" ] && [ "$have" != "$gid" ]; then
        echo "group $name has gid $have, not $gid; change it and its files (groupmod -g, chown), or reinstall the host" >&2
        exit 1
    fi
    have=$(getent passwd "$name" | cut -d: -f3)
    if [ -n "$uid" ] && [ -n "$have" ] && [ "$have" != "$uid" ]; then
        echo "user $name has uid $have, not $uid; change it and its files (usermod -u, chown), or reinstall the host" >&2
        exit 1
    fi
done

for word in "$@"; do
    case $word in
        mask:*)
            unit=${word#mask:}
            [ "$(readlink "/etc/systemd/system/$unit" || true)" = /dev/null ] && continue
            echo "changed $unit"
            [ -n "$check" ] || systemctl mask --now "$unit"
            ;;
        *)
            name=${word%%:*} ids=${word#*:}
            uid=${ids%%:*} gid=${ids#*:}
            if ! getent group "$name" >/dev/null; then
                echo "changed group $name"
                [ -n "$check" ] || groupadd --system -g "$gid" "$name"
            fi
            if [ -n "$uid" ] && ! getent passwd "$name" >/dev/null; then
                echo "changed user $name"
                [ -n "$check" ] || useradd --system -u "$uid" -g "$gid" -d /nonexistent -s /usr/sbin/nologin "$name"
            fi
            ;;
    esac
done
