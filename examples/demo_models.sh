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

tune() { # NAME TASK OPTIONS…
  name=$1 task=$2
  shift 2
  [ -f "$runs/$name/done" ] && return
  brainmvp finetune "$runs/studies/datalist.json" --out "$runs/$name" --task "$task" $train \
    --pretrained "$runs/pretrain/pretrained.pt" --templates "$runs/templates" \
    --clip 1 "$@"
  touch "$runs/$name/done"
}
python examples/coarse_templates.py "$runs/pretrain/templates" "$runs/templates"
# Dice over several windows at once: a window without a lesion teaches little by its own Dice.
tune glioma examples/demo_glioma/task.yaml --window 64 --on-label 0.5 --epochs 24 --batch 4 \
  --rate 2e-3 --warmup 30 --average 0.98 --validate-every 6
# Batch norm must see several studies at once, or it takes from a pooled feature what tells them apart.
tune grade examples/demo_grade/task.yaml --window 64 --on-label 0 --epochs 40 --batch 8 \
  --rate 2e-3 --warmup 20 --average 0.95 --validate-every 2

for name in glioma grade; do
  brainmvp export "$runs/$name/finetuned.pt" "$runs/bundles" --task examples/demo_$name/task.yaml \
    --templates "$runs/templates" --precision fp16 --demo --overwrite \
    --card examples/demo_$name/card.md
  brainmvp evaluate "$runs/bundles/demo-$name" "$runs/held-out/datalist.json" \
    --out "$runs/evaluation-$name" --subsets all --write-card
done
cp -r "$runs/bundles/." examples/bundles/
