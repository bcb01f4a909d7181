#!/bin/sh
# Lint the manual pages: groff must have nothing to say about them, nor mandoc where it is installed.
set -u
cd "$(dirname "$0")" || exit 1
status=0
for page in *.[1-9]; do
    # groff warns and still ends with 0.
    said=$(groff -mandoc -ww -z -Tutf8 "$page" 2>&1) || status=1
    if [ -n "$said" ]; then
        printf '%s\n' "$said" >&2
        status=1
    fi
    if command -v mandoc >/dev/null; then
        mandoc -T lint -W warning "$page" || status=1
    fi
done
exit $status
