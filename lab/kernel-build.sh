#!/bin/sh
# Runs inside the builder's root, in the source's folder: `configure` or `compile`.
set -eu
case $1 in
configure)
    # A guest that reboots executes itself anew, and would find its own taps busy: the one open() without O_CLOEXEC.
    vector=arch/um/drivers/vector_user.c
    sed -i 's/open(PATH_NET_TUN, O_RDWR)/open(PATH_NET_TUN, O_RDWR | O_CLOEXEC)/' $vector
    grep -q 'open(PATH_NET_TUN, .*O_CLOEXEC' $vector || { echo "$vector: no open() of the tap to mend" >&2; exit 1; }
    make -s ARCH=um KCONFIG_ALLCONFIG=/build/kernel.config allnoconfig
    ;;
compile)
    make ARCH=um -j"$(($(nproc) + 1))" linux
    make -s ARCH=um kernelrelease >release
    # All that a boot test needs for an init, beside the source, which has a folder of that name.
    printf '%s\n' '#include <unistd.h>' '#include <sys/reboot.h>' \
        'int main(void) { write(1, "lab kernel boots\n", 17); return reboot(RB_POWER_OFF); }' >/build/init.c
    gcc -static -o /build/init /build/init.c
    ;;
esac
