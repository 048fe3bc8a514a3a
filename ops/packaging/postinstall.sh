#!/bin/sh
set -e
# The package manager may have written the group before it knew its number.
chgrp backscatter /etc/backscatter /etc/backscatter/backscatter.yaml
chmod 0750 /etc/backscatter
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
# A new installation is started by its operator. In an upgrade what runs goes on as the
# new program, without losing a question; what the unit changes comes with its next
# restart. A daemon that refuses, as its configuration is wrong for the new program, goes
# on as the former one; only one that cannot be reached (3) is restarted.
systemctl is-active --quiet backscatter.service || exit 0
code=0
backscatter restart --config /etc/backscatter/backscatter.yaml || code=$?
[ "$code" -ne 3 ] || systemctl try-restart backscatter.service
