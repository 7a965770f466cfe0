#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# First process of the lab's dom0: brings up Xen's tools, runs the suite, reports, and turns the machine off.
export PATH=/bin:/usr/bin:/usr/lib/xen-4.17/bin LD_LIBRARY_PATH=/lib HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
say() { echo "lab[$(cut -d' ' -f1 /proc/uptime)] $*"; }
for module in $(cat /mod/order); do insmod /mod/$module.ko; done
mount -t xenfs xenfs /proc/xen
mkdir -p /var/run/xen /var/log/xen /var/lib/xenstored /run/xenstored /var/run/xenstored /tmp
xenstored --pid-file /run/xenstored.pid
xen-init-dom0
xenconsoled --pid-file=/run/xenconsoled.pid --log=all --log-dir=/var/log/xen
say "dom0 is up: $(cat /proc/xen/capabilities)"
sh /lab/suite.sh
code=$?
say "suite ended with $code"
# What the suite left goes out as an archive: by the only disk, or else by the second serial port, which is slow.
cd /result && echo "$code" > code
if [ -b /dev/vda ]; then
  tar -cf - . > /dev/vda
else
  stty -F /dev/ttyS1 raw 115200
  tar -cf - . | gzip > /dev/ttyS1
fi
sync
poweroff -f
