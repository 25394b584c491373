#!/usr/bin/env bash
# coterie data: what it writes is what it describes; every wrong use is one line and its exit code.
source "$(dirname "$0")/../support/cli.bash"
cd "$scratch"

"$COTERIE" data make --source glyphs -o made --train 30 --test 20 --seed 4 --gzip >out
grep -q '30 training and 20 test images' out
[[ $(ls made | wc -l) -eq 4 ]]
"$COTERIE" data make -o plain --train 30 --test 20 --seed 4 --format json | grep -q '"train": 30'
cmp <(zcat made/train-images-idx3-ubyte.gz) plain/train-images-idx3-ubyte

"$COTERIE" data info --idx made --format json | sed 's/, "path.*//' >from-gzip
"$COTERIE" data info --idx plain --format json | sed 's/, "path.*//' >from-plain
cmp from-gzip from-plain
"$COTERIE" data info --idx made | grep -q '^train  *30 '
"$COTERIE" data info --source l2norm --train 50 --test 40 | grep -q 'target'

printf 'model: {expert_hidden_total: 8}\ndata: {source: idx, path: made, validation: 10}\n' >r.yaml
"$COTERIE" data info r.yaml --set data.validation=7 | grep -q '^validation  *7 '

truncate -s 100 plain/t10k-labels-idx1-ubyte
truncate -s 5000 plain/t10k-images-idx3-ubyte
for ranks in 1 3; do
    launch=(mpirun --oversubscribe -n "$ranks" "$COTERIE" data)
    expect 65 'plain/t10k-images-idx3-ubyte: truncated' "${launch[@]}" info --idx plain
    expect 66 'nowhere/train-images-idx3-ubyte' "${launch[@]}" info --idx nowhere
    expect 66 'none.yaml' "${launch[@]}" info none.yaml
    expect 73 'exists already' "${launch[@]}" make -o made
    expect 73 'r.yaml/below' "${launch[@]}" make -o r.yaml/below
    expect 78 'data.validation' "${launch[@]}" info r.yaml --set data.validation=30
    expect 64 "'other' is neither make nor info" "${launch[@]}" other
done
expect 64 'say make or info' "$COTERIE" data
expect 64 "unexpected '--gzip'" "$COTERIE" data info --idx made --gzip
expect 64 "unexpected '--set'" "$COTERIE" data make --set data.seed=1
expect 64 'name one of' "$COTERIE" data info
expect 64 'name one of' "$COTERIE" data info r.yaml --idx made
expect 64 'with a recipe' "$COTERIE" data info r.yaml --train 5
expect 64 'l2norm' "$COTERIE" data make --source l2norm
expect 64 "'-1'" "$COTERIE" data make --train=-1
expect 64 "'12abc'" "$COTERIE" data info --idx made --test 12abc
expect 78 'data.train_samples: 31' "$COTERIE" data info --idx made --train 31
echo "data: all as it should be"
