#!/usr/bin/env bash
# The promise: the same bits in every parameter, moment, statistic and attribute on every number of ranks that divides the grains.
source "$(dirname "$0")/../support/cli.bash"

# same NAME RANKS -- OVERRIDES...: the run on each of RANKS ends with files of one digest.
same() {
    local name="$1" first="" n
    read -ra counts <<<"$2"
    shift 3
    for n in "${counts[@]}"; do
        ranks "$n" "${promised[@]}" --set "output.dir=$scratch/$name-$n" "$@" 2>"$scratch/log" ||
            fail "$name on $n ranks: $(tail -n 3 "$scratch/log")"
        local now
        now="$(digest "$scratch/$name-$n/latest.h5") $(digest "$scratch/$name-$n/stats.h5")"
        [ -n "$first" ] || first="$now"
        [ "$now" = "$first" ] || fail "$name: $n ranks give other bits than ${counts[0]}"
    done
    # Different settings must not give the same weights, or the comparison would say nothing.
    now="$(numbers "$scratch/$name-$n/latest.h5" -g /params)"
    if grep -qF "$now" "$scratch/weights" 2>/dev/null; then fail "$name: the weights of another setting"; fi
    echo "$now" >>"$scratch/weights"
    echo "same bits on ${counts[*]} ranks: $name"
}

same plain "1 2 4 8" --
same thirteen "1 2 4 8" -- --set model.experts=13 --set model.slots=3
same clipped "1 2 4 8" -- --set optimizer.clip_norm=0.05
same accumulated "1 2 4 8" -- --set train.accumulate=2
# The last batch has two samples, for four parts.
same remainder "1 2" -- --set train.accumulate=4 --set train.batch=78 --set train.drop_last=false
same parts "1 2 4 8" -- --set model.experts=64 --set parallel.exchange=slots --set train.batch=128
grep -q "steps of 128 in 2 parts," "$scratch/log" || fail "64 experts are not cut into parts: $(cat "$scratch/log")"
same tokens "1 2 4 8" -- --set model.experts=64 --set model.slots=2 --set parallel.exchange=tokens
same replicas "2 4 8" -- --set parallel.expert_replicas=2
same masses "1 4" -- --set stats.level=masses --set stats.keep=3,5 --set data.validation=100
same few "1 8" -- --set model.experts=3 --set router.noise=0.3 --set model.activation=gelu
