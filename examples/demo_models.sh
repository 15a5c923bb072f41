#!/bin/sh
# Make the demonstration models from nothing but this repository: synthetic studies, distilled
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
train="--cache $runs/cache --size tiny --precision $precision --clip 1 --resume"

brainmvp synthesize "$runs/studies" --section training --studies 120 --modalities $modalities
brainmvp synthesize "$runs/grade-studies" --section validation --studies 40 --seed 1 \
  --modalities $modalities --enhancing 0.5 --healthy 0.1
brainmvp synthesize "$runs/grade-studies" --section training --studies 240 --seed 1 \
  --modalities $modalities --enhancing 0.55 --healthy 0.1
brainmvp synthesize "$runs/tuning-studies" --section training --studies 240 --seed 2 \
  --modalities $modalities --enhancing 0.55 --healthy 0.25 --loose 0.5
brainmvp synthesize "$runs/held-out" --section test --studies 50 --modalities $modalities \
  --healthy 0.1 --anatomy $colin27

# A run in the folder $1 by the command that follows, if it is not done yet.
once() {
  out=$1
  shift
  [ -f "$out/done" ] || "$@" --out "$out"
  touch "$out/done"
}

once "$runs/pretrain" brainmvp pretrain "$runs/studies/datalist.json" $train \
  --window 64 --epochs 18 --template-epochs 8 --contrast-from 12 --accumulate 1 \
  --rate 2e-3 --warmup 50
python examples/coarse_templates.py "$runs/pretrain/templates" "$runs/templates" 16
# A bundle is to have at most 10 MB.
python examples/coarse_templates.py "$runs/pretrain/templates" "$runs/bundle-templates" 8

# A fine-tuning run in RUNS/$1, with the options that follow, by $run.
tune() {
  into=$runs/$1
  shift
  once "$into" $run finetune $train --templates "$runs/templates" --warmup 30 "$@"
}

# On two cores two processes of a thread each see half as many windows again as one of two.
two_processes() {
  OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 "$(command -v brainmvp)" "$@"
}

# Dice over several windows at once: a window without a lesion teaches little by its own Dice. The
# second run goes on from the first, with more healthy brains and CSF that brain extraction left; the
# third has FLAIR missing more often, which costs most, and the bundle's own templates.
run=two_processes
glioma="--task examples/demo_glioma/task.yaml --window 48 --on-label 0.5 --batch 3 --average 0.98"
tune glioma "$runs/grade-studies/datalist.json" $glioma --validation '' \
  --pretrained "$runs/pretrain/pretrained.pt" --epochs 32 --rate 2e-3
tune glioma-loose "$runs/tuning-studies/datalist.json" $glioma --validation '' \
  --pretrained "$runs/glioma/finetuned.pt" --epochs 36 --rate 1.5e-3
tune glioma-flair "$runs/tuning-studies/datalist.json" $glioma --validation '' \
  --pretrained "$runs/glioma-loose/finetuned.pt" --epochs 16 --rate 1.2e-3 \
  --missing flair=0.3 --missing t1c+t2+flair=0.05 --templates "$runs/bundle-templates"

# What enhances is a thousandth of a head. It is learned in windows that it fills, then in larger
# ones, each run going on from the one before.
run=brainmvp
from=$runs/pretrain/pretrained.pt
grow() {
  name=grade-$1
  shift
  tune "$name" "$runs/grade-studies/datalist.json" --task examples/demo_grade/task.yaml \
    --pretrained "$from" --on-label 1 --decay 1e-2 --average 0.95 "$@"
  from=$runs/$name/finetuned.pt
}
grow 48mm --window 16 --mix 0 --epochs 40 --batch 24 --rate 2e-3 --validate-every 40
grow 96mm --window 32 --mix 0 --epochs 20 --batch 16 --rate 1e-3 --validate-every 10
grow 96mm-mixed --window 32 --epochs 20 --batch 16 --rate 1e-3 --validate-every 5
grow head --window 64 --epochs 6 --batch 8 --rate 5e-4 --validate-every 2

bundle() { # demo_NAME, its fine-tuned file, the subsets to measure, and those to calibrate on
  name=$(echo "$1" | tr _ -)
  [ -d "$runs/bundles/$name" ] ||
    brainmvp export "$2" "$runs/bundles" --task "examples/$1/task.yaml" \
      --templates "$runs/bundle-templates" --demo --card "examples/$1/card.md"
  brainmvp evaluate "$runs/bundles/$name" "$runs/held-out/datalist.json" \
    --out "$runs/evaluation-$name" --subsets "$3" --write-card
  [ "$1" != demo_glioma ] || return 0 # examples/wide_glioma.sh trains it on; that one is shipped
  brainmvp evaluate "$runs/bundles/$name" "$runs/grade-studies/datalist.json" --section validation \
    --out "$runs/validation-$name" --subsets "$4"
  python -m brainmvp_evaluation.calibrate "$runs/bundles/$name" "$runs/validation-$name" \
    --check "$runs/evaluation-$name"
  python -m brainmvp_evaluation.describe_training "$runs/bundles/$name" \
    "$runs/grade-studies/datalist.json"
  rm -rf "examples/bundles/$name"
  cp -r "$runs/bundles/$name" examples/bundles/
}
bundle demo_glioma "$runs/glioma-flair/finetuned.pt" missing-one
bundle demo_grade "$from" all 't1,t1c,t2,flair;t1c,t2,flair;t1,t1c,flair;t1,t1c,t2;t1c'
# What the threshold and the smallest parts in its task file were chosen by: Dice with all modalities
# and without FLAIR, and what it finds in healthy scans.
validation="$runs/bundles/demo-glioma $runs/grade-studies/datalist.json"
python examples/choose_threshold.py $validation
python examples/choose_threshold.py $validation --hide flair
python examples/healthy_scans.py "$runs/bundles/demo-glioma"
