#!/bin/sh
# Make the demo-glioma that is shipped: from the one before it, which examples/demo_models.sh made and
# git keeps, by wide studies. An hour on one core of an AMD EPYC.
#
#     sh examples/wide_glioma.sh HEADS BRAINS [RUNS]
#
# HEADS is a folder of label maps of whole heads (the training_label_maps of BBillot/SynthSeg), BRAINS
# one of real brains without a tumour (docs/training.md). Everything goes to RUNS (runs/wide by
# default); what is there already is used, and an interrupted run goes on. EPOCHS sets how long; the
# thresholds in the task file are what choose_threshold.py says is best on studies for choosing.
set -eu
cd "$(dirname "$0")/.."
heads=$1 brains=$2 runs=${3:-runs/wide}
before=5080562  # the commit whose bundle the training begins from
export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184
precision=32
grep -qs avx512_bf16 /proc/cpuinfo && precision=bf16

mkdir -p "$runs"
git archive "$before" examples/bundles/demo-glioma | tar -x -C "$runs"
from=$runs/examples/bundles/demo-glioma

brainmvp synthesize "$runs/studies" --wide --section training --studies 240 --seed 3 \
  --heads "$heads" --brains "$brains" --healthy 0.2
brainmvp synthesize "$runs/studies" --wide --exam --section test --studies 30 --seed 4 \
  --heads "$heads" --healthy 0.2
brainmvp synthesize "$runs/studies" --wide --section validation --studies 40 --seed 5 \
  --heads "$heads" --brains "$brains" --healthy 0.2
[ -f "$runs/start.pt" ] ||
  python examples/checkpoint_of_bundle.py "$from" "$runs/studies/datalist.json" "$runs/start.pt"
python examples/templates_of_bundle.py "$from" "$runs/templates"
brainmvp finetune "$runs/studies/datalist.json" --task examples/demo_glioma/task.yaml \
  --templates "$runs/templates" --pretrained "$runs/start.pt" --cache "$runs/cache" \
  --size tiny --precision "$precision" --clip 1 --window 48 --on-label 0.5 --batch 3 \
  --average 0.98 --warmup 20 --rate 1e-3 --missing flair=0.1 --validation '' --validate-every 1 \
  --epochs "${EPOCHS:-30}" --save-seconds 60 --resume --out "$runs/glioma"
rm -rf "$runs/bundles/demo-glioma"
brainmvp export "$runs/glioma/finetuned.pt" "$runs/bundles" --task examples/demo_glioma/task.yaml \
  --templates "$runs/templates" --demo --card examples/demo_glioma/card.md
python examples/choose_threshold.py "$runs/bundles/demo-glioma" "$runs/studies/datalist.json" \
  --subsets 't1,t1c,t2,flair;t1c,t2,flair;t1,t2,flair;t1,t1c,flair;t1,t1c,t2;flair;t1'
brainmvp evaluate "$runs/bundles/demo-glioma" "$runs/studies/datalist.json" \
  --out "$runs/evaluation" --subsets missing-one --fill center --fill register --write-card
# What is set on studies, not learnt, is set on two of the heads that no training uses, and judged on
# the other two: probabilities, and what the bundle warns of.
mkdir -p "$runs/two-heads" "$runs/two-others"
cp "$heads"/head_05.nii.gz "$heads"/head_13.nii.gz "$runs/two-heads"
cp "$heads"/head_10.nii.gz "$heads"/head_18.nii.gz "$runs/two-others"
brainmvp synthesize "$runs/limits" --wide --exam --section validation --studies 80 --seed 12 \
  --heads "$runs/two-heads" --healthy 0.2
brainmvp synthesize "$runs/limits" --wide --exam --section test --studies 80 --seed 13 \
  --heads "$runs/two-others" --healthy 0.2
brainmvp evaluate "$runs/bundles/demo-glioma" "$runs/limits/datalist.json" --section validation \
  --limit 40 --out "$runs/validation" --fill center \
  --subsets 't1,t1c,t2,flair;t1,t1c,t2;t1,t1c,flair;t1,t2,flair;t1c,t2,flair;t1c;flair'
brainmvp evaluate "$runs/bundles/demo-glioma" "$runs/limits/datalist.json" --section test \
  --limit 40 --out "$runs/test" --fill center --subsets missing-one
python -m brainmvp_evaluation.calibrate "$runs/bundles/demo-glioma" "$runs/validation" \
  --check "$runs/test"
python -m brainmvp_evaluation.describe_training "$runs/bundles/demo-glioma" \
  "$runs/studies/datalist.json" --calibrate "$runs/limits/datalist.json"
python benchmarks/patients.py "$runs/bundles/demo-glioma"
