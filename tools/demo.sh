#!/usr/bin/env bash
# The demo: a workspace, a teacher, labels and what is in them, a selection and a page to look at it; then the whole loop on Fashion-MNIST, shortened. `make demo` calls it and sets UNDERSTUDY (the executable) and CACHE.
set -euo pipefail
: "${UNDERSTUDY:?is not set; run \`make demo\`}" "${CACHE:?is not set; run \`make demo\`}"
cd "$(dirname "$0")/.."
root=$PWD

workspace="$CACHE/demo/workspace"
rm -rf -- "${workspace:?}"
export UNDERSTUDY_WORKSPACE="file://$workspace"

# Shows a command as one would type it, then runs it.
understudy() {
    local word shown='understudy'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=@-]*) shown+=" \"$word\"" ;;
            *) shown+=" $word" ;;
        esac
    done
    if [[ -t 1 ]]; then printf '\n\033[1m$ %s\033[0m\n' "$shown"; else printf '\n$ %s\n' "$shown"; fi
    "$UNDERSTUDY" "$@"
}

printf '\n$ export UNDERSTUDY_WORKSPACE=%s\n' "$UNDERSTUDY_WORKSPACE"
understudy init
understudy teachers add lite0 --model "$CACHE/demo/efficientnet-lite0.onnx" \
    --config pipelines/teachers/efficientnet-lite0.toml
understudy label --dataset photos --source "file://$CACHE/demo/photos" --teacher lite0
understudy sql "SELECT regexp_replace(key, '.*/', '') AS photo, label, round(confidence, 3) AS p, second_label
FROM labels ORDER BY confidence DESC, key LIMIT 12"
understudy sql "SELECT regexp_replace(key, '.*/', '') AS photo, stage, reason, detail FROM rejects ORDER BY key"
understudy sql "SELECT confidence_from, confidence_to, images FROM confidence_histogram WHERE teacher = 'lite0@1' ORDER BY 1 DESC LIMIT 6"
understudy select --name first --dataset photos --teacher lite0 --per-class 3
understudy sql "SELECT label, available, kept, copies, round(cut_off, 3) AS cut_off FROM selection_classes ORDER BY available DESC, label"
understudy sql "SELECT kind, outcome, images, labelled, rejected, chosen, copies FROM runs ORDER BY run"
understudy report --selection first --out "$CACHE/demo/report.html"
printf '\nLabels and selections are ordinary Parquet:\n'
(cd "$workspace" && find labels selections -name '*.parquet' | sort)
printf '\nThe report is a page for a browser:\n%s\n' "file://$CACHE/demo/report.html"

printf '\nAnd the whole loop, twice round, with 1,000 labelled and 54,000 unlabelled images of clothes (some five minutes on two cores):\n'
printf '\n$ cd %s\n' "$CACHE/fashion-mnist"
cd "$CACHE/fashion-mnist"
understudy run "$root/pipelines/fashion-mnist-short.toml"
