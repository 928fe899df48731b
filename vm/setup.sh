#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs what the lab, the analysis and the tests need, and only what is missing: Debian packages
# and a virtual environment in the user's cache, reachable as .venv. A second run needs no network.
# usage: setup.sh [arm64] [browser]: also what guests of arm64 need, and a browser for the tests of
# the report; `make test` does without both
set -eu

packages="python3 python3-venv qemu-system-x86 mmdebstrap kmod busybox-static file shellcheck
	gcc libc6-dev make xz-utils"
programs="python3 qemu-system-x86_64 mmdebstrap modprobe busybox file gcc"
for more in "$@"; do
	case $more in
	arm64)
		packages="$packages qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
		programs="$programs qemu-system-aarch64 aarch64-linux-gnu-gcc"
		;;
	browser)
		packages="$packages chromium chromium-driver"
		programs="$programs chromium chromedriver"
		;;
	esac
done
cache="${XDG_CACHE_HOME:-$HOME/.cache}/mapcount"
here=$(cd "$(dirname "$0")/.." && pwd)

fail() {
	echo "error: $*" >&2
	exit 1
}

missing=
if command -v dpkg-query >/dev/null; then
	for package in $packages; do
		state=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
		[ "$state" = "install ok installed" ] || missing="$missing $package"
	done
else
	# Another distribution: its package names are not ours to know, its programs are.
	for program in $programs; do
		command -v "$program" >/dev/null || missing="$missing $program"
	done
	[ -z "$missing" ] || fail "this is not Debian: install these programs yourself:$missing"
fi
if [ -n "$missing" ]; then
	[ "$(id -u)" = 0 ] || fail "run this as root, or: apt-get install$missing"
	echo "setup: installing$missing"
	mkdir -p "$cache"
	log="$cache/apt.log"
	export DEBIAN_FRONTEND=noninteractive
	# The list of packages is meant to be split into words.
	# shellcheck disable=SC2086
	{ apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 ||
		fail "apt-get failed: see $log"
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	fail "$(python3 --version) is too old: put Python 3.11 or newer first on PATH as python3"

# The environment belongs to the requirements and the Python it was made from.
key=$({ cat "$here/pyproject.toml"; python3 -c 'import sys; print(sys.version, sys.prefix)'; } |
	sha256sum | cut -c 1-10)
venv="$cache/venv-$key"
mkdir -p "$cache"
(
	flock 9 # two setups at once: the second finds it made
	[ ! -e "$venv/complete" ] || exit 0
	echo "setup: making a Python environment in $venv"
	rm -rf "$venv"
	python3 -m venv "$venv"
	# The programs run from this folder, so only their requirements are installed.
	python3 - "$here/pyproject.toml" >"$venv/requirements.txt" <<-'PYTHON'
		import sys, tomllib

		with open(sys.argv[1], "rb") as file:
		    project = tomllib.load(file)["project"]
		extras = project["optional-dependencies"]
		print("\n".join(project["dependencies"] + extras["vm"] + extras["test"]))
	PYTHON
	"$venv/bin/python" -m pip install --disable-pip-version-check \
		-r "$venv/requirements.txt" >"$cache/pip.log" 2>&1 || fail "pip failed: see $cache/pip.log"
	touch "$venv/complete"
) 9>"$cache/venv.lock"
ln -sfn "$venv" "$here/.venv"
