#!/bin/sh
# Make the two demonstration models from nothing but this repository: synthetic studies, distilled
# templates, fine-tuning, bundles, evaluation on the anatomy held out. Hours on two cores.
#
#     sh examples/demo_models.sh [RUNS]
#
# Everything goes to RUNS (runs/demo by default); what is there already is used, not made again.
set -eu
cd "$(dirname "$0")/.."
runs=${1:-runs/demo}
colin27=examples/colin27/colin27_t1.nii.gz
modalities=t1,t1c,t2,flair
# glibc gives memory back at every step and takes it again: a third of the time on a CPU.
export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184
precision=32
grep -qs avx512_bf16 /proc/cpuinfo && precision=bf16
train="--cache $runs/cache --size tiny --precision $precision --resume"

brainmvp synthesize "$runs/studies" --section validation --studies 8 --modalities $modalities \
  --healthy 0.12
brainmvp synthesize "$runs/studies" --section training --studies 120 --modalities $modalities
brainmvp synthesize "$runs/held-out" --section test --studies 50 --modalities $modalities \
  --healthy 0.1 --anatomy $colin27

[ -f "$runs/pretrain/pretrained.pt" ] ||
  brainmvp pretrain "$runs/studies/datalist.json" --out "$runs/pretrain" $train \
    --window 64 --epochs 18 --template-epochs 8 --contrast-from 12 --accumulate 1 \
    --rate 2e-3 --warmup 50 --clip 1

tune() { # RUN TASK PRETRAINED OPTIONS…
  run=$runs/$1 task=examples/demo_$2/task.yaml from=$runs/$3
  shift 3
  [ -f "$run/done" ] && return
  brainmvp finetune "$runs/studies/datalist.json" --out "$run" --task "$task" $train \
    --pretrained "$from" --templates "$runs/templates" --clip 1 --window 64 "$@"
  touch "$run/done"
}
python examples/coarse_templates.py "$runs/pretrain/templates" "$runs/templates"
# Dice over several windows at once: a window without a lesion teaches little by its own Dice.
tune glioma glioma pretrain/pretrained.pt --on-label 0.5 --epochs 24 --batch 4 \
  --rate 2e-3 --warmup 30 --average 0.98 --validate-every 6
# Batch norm must see several studies at once, or it takes from a pooled feature what tells them
# apart. What an enhancing rim is comes first, from whole studies; then, with some modalities hidden.
tune grade-whole grade pretrain/pretrained.pt --on-label 0 --epochs 40 --batch 8 \
  --rate 1e-3 --warmup 20 --average 0.95 --mix 0 --validation ''
tune grade grade grade-whole/finetuned.pt --on-label 0 --epochs 12 --batch 8 \
  --rate 5e-4 --warmup 20 --average 0.95 --validate-every 4

for name in glioma grade; do
  brainmvp export "$runs/$name/finetuned.pt" "$runs/bundles" --task examples/demo_$name/task.yaml \
    --templates "$runs/templates" --precision fp16 --demo --overwrite \
    --card examples/demo_$name/card.md
  brainmvp evaluate "$runs/bundles/demo-$name" "$runs/held-out/datalist.json" \
    --out "$runs/evaluation-$name" --subsets all --write-card
done
cp -r "$runs/bundles/." examples/bundles/
