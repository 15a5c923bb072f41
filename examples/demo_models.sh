#!/bin/sh
# Make the demonstration model of gliomas from nothing but this repository: synthetic studies,
# distilled templates, fine-tuning, a bundle, evaluation on the anatomy held out. Hours on two cores.
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

python examples/coarse_templates.py "$runs/pretrain/templates" "$runs/templates" 16
# Dice over several windows at once: a window without a lesion teaches little by its own Dice.
[ -f "$runs/glioma/done" ] ||
  brainmvp finetune "$runs/studies/datalist.json" --out "$runs/glioma" $train \
    --task examples/demo_glioma/task.yaml --pretrained "$runs/pretrain/pretrained.pt" \
    --templates "$runs/templates" --window 64 --on-label 0.5 --epochs 24 --batch 4 --rate 2e-3 \
    --warmup 30 --clip 1 --average 0.98 --validate-every 6
touch "$runs/glioma/done"
# A bundle is to have at most 10 MB.
python examples/coarse_templates.py "$runs/pretrain/templates" "$runs/bundle-templates" 8
brainmvp export "$runs/glioma/finetuned.pt" "$runs/bundles" --task examples/demo_glioma/task.yaml \
  --templates "$runs/bundle-templates" --demo --overwrite --card examples/demo_glioma/card.md
brainmvp evaluate "$runs/bundles/demo-glioma" "$runs/held-out/datalist.json" \
  --out "$runs/evaluation-glioma" --subsets missing-one --write-card
cp -r "$runs/bundles/." examples/bundles/
