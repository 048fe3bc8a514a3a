#!/bin/sh
set -e
# The package manager may have written the group before it knew its number.
chgrp backscatter /etc/backscatter /etc/backscatter/backscatter.yaml
chmod 0750 /etc/backscatter
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
# An upgrade restarts what runs; a new installation is started by its operator.
systemctl try-restart backscatter.service
