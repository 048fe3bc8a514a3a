#!/bin/sh
# The configuration belongs to this group, so it must be there before the files.
set -e
getent group backscatter >/dev/null || groupadd --system backscatter
getent passwd backscatter >/dev/null ||
	useradd --system --gid backscatter --home-dir /var/lib/backscatter --no-create-home --shell /usr/sbin/nologin backscatter
