#!/bin/sh
# Runs inside the builder's root, in the source's folder: `configure` or `compile`.
set -eu
case $1 in
configure)
    patch -p1 --fuzz=0 </build/kernel.patch
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
