#!/bin/sh
# Three questions at small scale, three seeds each; the answers go to docs/experiments.md.
#   (a) fine-tuning from pre-training against from scratch
#   (b) a missing modality filled by its distilled template, by zeros, by a plain mean image
#   (c) training with template mixing against without
#
#     sh examples/experiments/run.sh [RUNS [SEEDS]]     after examples/demo_models.sh RUNS
#
# What is in RUNS/experiments already is used, so the call can be repeated after an interruption.
# Two calls with other SEEDS, say "0 1" and "2", can run side by side; the page is written by the
# call that finds all of them done.
set -eu
cd "$(dirname "$0")/../.."
runs=${1:-runs/demo}
seeds=${2:-0 1 2}
out=$runs/experiments
export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184
precision=32
grep -qs avx512_bf16 /proc/cpuinfo && precision=bf16

if [ ! -d "$out/mean" ]; then
  aside=$out/.mean-$$
  python examples/experiments/mean_templates.py "$runs/studies/datalist.json" "$runs/cache" "$aside"
  mv -T "$aside" "$out/mean" || [ -d "$out/mean" ]
fi

arm() { # NAME SEED OPTIONS…
  run=$out/$1-$2
  name=$1-$2
  seed=$2
  shift 2
  [ -f "$run/done" ] && return
  brainmvp finetune "$runs/studies/datalist.json" --out "$run" --cache "$runs/cache" --size tiny \
    --task examples/experiments/task.yaml --templates "$runs/templates" --precision $precision \
    --window 48 --on-label 0.6 --epochs 4 --batch 4 --rate 2e-3 --warmup 20 --clip 1 \
    --average 0.98 --validation '' --seed "$seed" --resume "$@"
  brainmvp export "$run/finetuned.pt" "$out/bundles" --task examples/experiments/task.yaml \
    --templates "$runs/templates" --name "$name" --demo --overwrite
  touch "$run/done"
}

measure() { # ARM SEED FILLING SUBSETS OPTIONS…
  result=$out/$1-$2-$3
  bundle=$out/bundles/$1-$2
  subsets=$4
  shift 4
  [ -f "$result/evaluation.json" ] && return
  brainmvp evaluate "$bundle" "$runs/held-out/datalist.json" --limit 8 --out "$result" \
    --subsets "$subsets" "$@"
}

all='t1,t1c,t2,flair'
one_missing='t1c,t2,flair;t1,t2,flair;t1,t1c,flair;t1,t1c,t2'
for seed in $seeds; do
  arm pretrained $seed --pretrained "$runs/pretrain/pretrained.pt"
  arm scratch $seed
  arm unmixed $seed --pretrained "$runs/pretrain/pretrained.pt" --mix 0
  measure pretrained $seed template "$all;$one_missing"
  measure scratch $seed template "$all"
  measure unmixed $seed template "$all;$one_missing"
  measure pretrained $seed zeros "$one_missing" --fill zeros
  measure pretrained $seed mean "$one_missing" --templates "$out/mean"
done
python examples/experiments/report.py "$out" docs/experiments.md
