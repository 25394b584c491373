#!/usr/bin/env bash
# coterie inspect: what it prints of a checkpoint; damage, wrong files and a failing disk are one line and an exit code.
source "$(dirname "$0")/../support/cli.bash"
source "$(dirname "$0")/../reference/python.bash"
cd "$scratch"

cat >r.yaml <<'YAML'
model: {experts: 4, expert_hidden_total: 16}
data: {source: glyphs, train_samples: 64, test_samples: 16}
train: {batch: 32, epochs: 1}
stats: {every: 0}
YAML
train() { mpirun --oversubscribe -n "$1" "${@:3}" "$COTERIE" train r.yaml --set output.dir="$2"; }

for ranks in 1 2 4; do train $ranks run$ranks >/dev/null 2>&1; done
digest=$("$COTERIE" inspect --digest run1/latest.h5)
[[ $digest =~ ^[0-9a-f]{64}$ ]]
[[ $("$COTERIE" inspect --digest run2/latest.h5) == "$digest" ]]
[[ $(mpirun --oversubscribe -n 3 "$COTERIE" inspect --digest run4/latest.h5) == "$digest" ]]
[[ $("$COTERIE" inspect --digest --format json run1/latest.h5) == "{\"digest\": \"$digest\"}" ]]
cmp -s run1/latest.h5 run2/latest.h5 && { echo "nothing tells the files apart: the digest is not tested"; exit 1; }

"$COTERIE" inspect run2/latest.h5 >text
grep -q 'all checksums are good' text
grep -Eq 'moe\.0\.experts\.w1 +E,D,H +\[4,196,4\] +expert +3136 ' text
grep -q '^  grains  *8$' text
"$COTERIE" inspect run2/latest.h5 --format json >json
grep -q '"verified": true' json
grep -q '"moments": \["m", "v"\]' json
grep -q '"best_step": ' json

# Another file of HDF5 is listed; without its own attributes it is no checkpoint.
"$python" -c "
import h5py
f = h5py.File('other.h5', 'w')
f.create_dataset('g/x', data=[1.5, 2.5], dtype='f4')
f['g'].attrs['units'] = 3
f['loop'] = h5py.SoftLink('/g')"
"$COTERIE" inspect other.h5 | grep -Eq '/g/x +float32 +\[2\]'
expect 65 '/loop' "$COTERIE" inspect --digest other.h5
expect 65 "no readable attribute 'format'" "$COTERIE" eval other.h5

# One byte of the last expert's weights: the data set is named, and nobody is fooled by a copy.
cp run1/latest.h5 bad.h5
"$python" - <<'PYTHON'
data = bytearray(open('bad.h5', 'rb').read())
data[len(data) // 2] ^= 1
open('bad.h5', 'wb').write(data)
PYTHON
head -c 3000 run1/latest.h5 >cut.h5
: >empty.h5
echo 'a text' >text.h5
for ranks in 1 3; do
    launch=(mpirun --oversubscribe -n "$ranks" "$COTERIE" inspect)
    expect 65 'bad.h5: /' "${launch[@]}" bad.h5
    expect 65 'bad.h5: /' "${launch[@]}" --digest bad.h5
    expect 65 'cut.h5' "${launch[@]}" cut.h5
    expect 65 'empty.h5' "${launch[@]}" empty.h5
    expect 65 'text.h5' "${launch[@]}" text.h5
    expect 66 'none.h5' "${launch[@]}" none.h5
    expect 66 'is not a file' "${launch[@]}" run1
    expect 64 'name a file' "${launch[@]}"
    expect 64 "'more'" "${launch[@]}" bad.h5 more
done

# A disk that fails while training, on one rank: 74, and nothing is left of the file.
fault() { expect 74 "$3" train 3 fault -x LD_PRELOAD="$FAULT_LIBRARY" -x COTERIE_FAULT="$1 rank=$2"; }
for rank in 0 1 2; do
    rm -rf fault
    fault 'call=write,pwrite,pwritev match=*.partial action=fail:ENOSPC' $rank 'No space left on device'
    [[ -z $(ls fault | grep h5) ]]
    fault 'call=fsync match=*.partial action=fail:EIO' $rank 'cannot be synchronized: Input/output error'
    [[ -z $(ls fault | grep h5) ]]
done
train 3 fault >/dev/null 2>&1
"$COTERIE" inspect fault/latest.h5 >/dev/null
echo "inspect: all as it should be"
