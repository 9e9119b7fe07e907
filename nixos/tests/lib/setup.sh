#!/bin/sh
# Brings a VM test's machine into the state that the script begins with: setup.sh BUNDLE MODEL_DIRECTORY
#
# Both backends run it at each boot, before the units of the appliance; rigappliance/vmtest/bundle.py
# describes the bundle.
set -eu
bundle=$1
model=$2
state=/var/lib/vmtest

mkdir -p "$state"
while read -r path size_bytes type owner; do
  image=$state/$(echo "$path" | tr / -).img
  if [ ! -e "$image" ]; then
    truncate --size="$size_bytes" "$image.new"
    "mkfs.$type" -q "$image.new"
    mv "$image.new" "$image"
  fi
  mkdir -p "$path"
  if ! mountpoint --quiet "$path"; then mount -o loop "$image" "$path"; fi
  chown "$owner:" "$path"
done <"$bundle/volumes"

# What a script changed stays changed after its reboots.
if [ -e "$state/done" ]; then exit 0; fi
mkdir -p /srv /opt/rigappliance
if [ -d "$bundle/engine" ]; then ln --symbolic --no-dereference --force "$bundle/engine" /opt/rigappliance/engine; fi
if [ -d "$bundle/files" ]; then cp --recursive --no-preserve=mode "$bundle/files/." /; fi
if [ -d "$bundle/checkpoint" ]; then
  ln --symbolic --no-dereference --force "$bundle/checkpoint" /srv/checkpoint
  mkdir -p "$model"
  cp --recursive --no-preserve=mode "$bundle/checkpoint/." "$model"
  chown --recursive rigappliance: "$model"
fi
touch "$state/done"
sync
