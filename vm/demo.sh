#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Records the life of one huge page on the lab kernel and shows it: usage: demo.sh PYTHON
set -eu

out=out/demo
mapcount="$1 mapcount.py"
mkdir -p "$out"
rm -f "$out/trace.mapcount" "$out/timeline.png" "$out/summary.txt"

# $mapcount is two words on purpose, here and below.
# shellcheck disable=SC2086
$mapcount lab run lifecycle -o "$out/trace.mapcount"

status=0
for command in stats lives verify; do
	echo "# mapcount $command $out/trace.mapcount"
	# shellcheck disable=SC2086
	$mapcount "$command" "$out/trace.mapcount" || status=1
	echo
done >"$out/summary.txt"
cat "$out/summary.txt"
# shellcheck disable=SC2086
$mapcount timeline "$out/trace.mapcount" -o "$out/timeline.png"

cat <<END
In $out: trace.mapcount, timeline.png, summary.txt. What to type next:
  $mapcount dump $out/trace.mapcount | less
  $mapcount timeline $out/trace.mapcount -o life.svg
  $mapcount lab run seed-2015 -o out/seed.mapcount
  $mapcount lab run -o out/mine.mapcount -- python3 your-test.py
END
exit $status
