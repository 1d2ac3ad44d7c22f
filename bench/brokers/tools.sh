#!/bin/sh
# Installs the brokers that bench/compare.py sets beside us, for `make bench-tools`. The first argument is the directory
# where a program goes that the system's own packages do not have. What cannot be had is said, and its system skipped.
set -eu
into=$1
packages="nats-server rabbitmq-server"

if ! command -v apt-get >/dev/null; then
  echo "apt-get is not here: install $packages yourself"
  exit 0
elif test "$(id -u)" = 0; then
  as=""
elif sudo -n true 2>/dev/null; then
  as="sudo -n"
else
  echo "not root, and no sudo without a password: install $packages yourself"
  exit 0
fi

missing=""
for package in $packages; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
if test -n "$missing"; then
  timeout 60 $as apt-get update -qq || true
  # shellcheck disable=SC2086
  timeout 400 $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
    echo "$missing could not be installed"
  # The benchmark starts its own: nothing that came just now stays running, or starts with the machine.
  if test -d /run/systemd/system; then
    for package in $missing; do $as systemctl disable --quiet --now "$package" || true; done
    case $missing in *rabbitmq*) $as systemctl stop --quiet epmd.socket epmd.service || true ;; esac
  fi
fi

# A NATS server that can sync each message: 2.10, which Debian has from 13 on. It needs nothing but the C library.
server=$(PATH="$into:$PATH:/usr/sbin" command -v nats-server || true)
if test -n "$server" && "$server" --version | grep -Eq 'v2\.[0-9]\.'; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$into"
  # From wherever this system has its packages.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep '/debian/\{0,1\}$' | head -n 1)
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$keys] $mirror trixie main" >"$scratch/sources.list"
  # The system's own lists of packages stay as they are.
  elsewhere="-o Dir::Etc::sourcelist=$scratch/sources.list -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists=$scratch/lists -o Dir::Cache=$scratch/cache -o APT::Sandbox::User=$(id -un)"
  # shellcheck disable=SC2086
  if (cd "$scratch" && timeout 120 apt-get $elsewhere update -qq && timeout 120 apt-get $elsewhere download -qq nats-server) &&
    dpkg-deb --extract "$scratch"/nats-server_*.deb "$scratch/package"; then
    cp "$scratch/package/usr/sbin/nats-server" "$into/nats-server"
  else
    echo "Debian 13's nats-server could not be fetched: nats-synced is skipped"
  fi
fi
