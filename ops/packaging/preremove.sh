#!/bin/sh
set -e
[ -d /run/systemd/system ] || exit 0
# $1 is "remove" (dpkg) or 0 (rpm) when nothing takes this version's place.
case "$1" in
remove | 0) systemctl disable --now backscatter.socket backscatter.service ;;
esac
