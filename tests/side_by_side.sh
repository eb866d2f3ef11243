#!/usr/bin/env bash
# Runs two programs side by side over what the project ships, and says which bytes of theirs differ.
#
#   tests/side_by_side.sh OLD NEW
#
# Each command runs once for each program, in folders of equal names, so that no path differs. Compared
# are what it prints, the status with which it ends, and every file that it writes, over the lines of
# semantics/experiments.txt, every machine, every topology and every energy profile. A command that ends
# other than it should, or that says and writes nothing, is a fault even where both programs agree.
#
# Left out are checkpoints, whose layout is each program's own; timing.json, which holds seconds and
# threads; and --version. Sweeps and searches run one job at a time, so that points.jsonl has one order.
#
# The status is 0 where nothing differs, 1 where something does, and 2 for wrong arguments. What differs
# is kept in a folder that is named at the end.
set -uo pipefail
shopt -s globstar dotglob nullglob

usage() {
  echo "usage: tests/side_by_side.sh OLD NEW: two executables" >&2
  exit 2
}

[[ $# = 2 && -f $1 && -x $1 && -f $2 && -x $2 ]] || usage
old=$(realpath "$1") new=$(realpath "$2")
cd "$(dirname "$0")/.." || exit 2
work=$(mktemp -d)
cases=0 commands=0 faults=0
for side in old new; do
  mkdir -p "$work/$side/found"
  ln -s "$PWD/models" "$PWD/tests" "$work/$side/"
done

fault() {
  echo "$*"
  faults=$((faults + 1))
}

# Begins the case of this name; its steps write to `$out`.
begin() {
  name=$1 out=found/$1 step=1
  cases=$((cases + 1))
  mkdir "$work/old/$out" "$work/new/$out" || fault "$name: two cases have this name"
}

# Runs a command on one side, and keeps what it prints, and its status beside its arguments.
on_side() {
  local said=$out/$step
  cd "$work/$1" || return
  timeout 120 "${@:2}" >"$said.out" 2>"$said.err" </dev/null
  echo "$? systoliq ${*:3}" >"$said.status"
}

# Runs a command with both programs at once, as a step of the case. It must succeed, or fail as bad input
# does if the first word is `refused`, and say something.
run() {
  local expected=0 side said status
  [[ $1 = refused ]] && expected=2 && shift
  on_side old "$old" "$@" &
  on_side new "$new" "$@" &
  wait
  for side in old new; do
    said=$work/$side/$out/$step
    read -r status _ <"$said.status"
    [[ $status = "$expected" ]] || fault "$name/$step: $side ends with $status, not $expected: systoliq $*"
    [[ -s $said.out || -s $said.err ]] || fault "$name/$step: $side says nothing: systoliq $*"
  done
  commands=$((commands + 1)) step=$((step + 1))
}

# All that is said of an experiment: its name, its file, and what is set in it.
experiment() {
  local file=$2 settings=() setting
  begin "experiment-$1"
  shift 2
  for setting; do settings+=(--set "$setting"); done
  run check "$file" "${settings[@]}"
  run check "$file" "${settings[@]}" --json
  run list "$file" "${settings[@]}"
  run train "$file" "${settings[@]}" --out "$out/run" --dump-step 2 --counts "$out/counts.csv"
  run train "$file" "${settings[@]}" --json
  run report "$out/run" --svg "$out/figures"
  run trace "$file" "${settings[@]}" --step 1 --format perfetto -o "$out/step.json"
}

experiments() {
  local line
  while read -ra line; do
    [[ ${#line[@]} = 0 || ${line[0]} = \#* ]] || experiment "${line[@]}"
  done <tests/semantics/experiments.txt
}

# What `train` does beyond one run, and what reads its folders.
runs() {
  local digits=models/digits-mlp.json
  begin runs
  run train $digits --set training.epochs=3 --seeds 3 --out "$out/a" --diagnose
  run train $digits --set training.epochs=1 --seeds 2 --out "$out/b" --set precision.gradients.bits=4
  run train $digits --set training.epochs=3 --seeds 3 --out "$out/b" --set precision.gradients.bits=4 --resume
  run compare "$out/a" "$out/b"
  run compare "$out/a" "$out/b" --json
  run report "$out/a"
  run refused train $digits --out "$out/a"
  run train models/lms.json --set training.epochs=2 --seeds 3 --out "$out/c" --json
  run report "$out/c"
  for engine in register reference; do
    run train $digits --set training.epochs=1 --engine $engine --out "$out/$engine" --threads 1
    run train models/digits-mxint8.json --set training.epochs=1 --engine $engine
  done
}

precision() {
  local experiment
  begin precision
  for experiment in binary-classifier digits-mlp digits-mxint8 ten-way-classifier; do
    run precision models/$experiment.json --sweep 3..6 --train --out "$out/$experiment.json"
    run precision models/$experiment.json --mismatch 0.001 --on test --json
    run check models/$experiment.json --set "precision=$out/$experiment.json"
  done
  run precision models/mnist-mlp.json --set dataset.dir=tests/data/fashion-mnist --set dataset.validation=100 --json
  run refused precision models/lms.json
}

explorations() {
  local short="--set experiment.training.epochs=1"
  begin sweep
  run sweep models/sweeps/digits-bits.json --set seeds=2 $short --jobs 1 --out "$out/bits"
  run report "$out/bits" --svg "$out/figures"
  run sweep models/sweeps/digits-bits.json --set seeds=2 $short --jobs 1 --out "$out/bits" --resume --json
  begin search
  run search models/digits-mlp.json --set training.epochs=2 --seeds 2 --held-back 3 --runs 30 --jobs 1 --out "$out/found"
  run report "$out/found"
  run check "$out/found/plan.json"
}

traces() {
  local experiment format op
  for experiment in digits-mlp digits-mxint8 lms; do
    begin "trace-$experiment"
    for op in 0.forward 0.weight_gradient; do
      for format in vcd fst text scalesim; do
        run trace models/$experiment.json --step 3 --op $op --format $format -o "$out/$op.$format"
      done
    done
    for format in perfetto dramsim3 ramulator2; do
      run trace models/$experiment.json --step 3 --format $format -o "$out/step.$format"
      run trace models/$experiment.json --step 3 --op 0.update --format $format -o "$out/update.$format" \
        --set accelerator=models/accelerators/edge-16x16.json
    done
    run trace models/$experiment.json --op 0.forward --cycles 5..20 --rows 0..2 --format text \
      --set accelerator.array.dataflow=ws
  done
}

products() {
  local machine dataflow overlap folds sizes="--m 37 --n 41 --k 53"
  begin gemm
  for dataflow in os ws is auto; do
    for overlap in none double-buffered pipelined; do
      for folds in full trimmed; do
        run gemm $sizes --rows 7 --cols 12 --dataflow $dataflow --overlap $overlap --partial-folds $folds --json
      done
    done
    for machine in models/accelerators/*.json models/validation/*.json; do
      run gemm $sizes --accelerator "$machine" --dataflow $dataflow --json
      run gemm $sizes --accelerator "$machine" --dataflow $dataflow --bits-a 4 --counts "$out/$step.csv"
    done
  done
  for dataflow in os ws is; do run gemm $sizes --dataflow $dataflow --scalesim; done
}

workloads() {
  local topology machine options
  for topology in models/topologies/*.csv; do
    begin "workload-$(basename "$topology" .csv)"
    for machine in models/accelerators/*.json models/validation/*.json; do
      options=("$topology" --accelerator "$machine")
      run workload "${options[@]}" --counts "$out/$step.counts.csv" --csv "$out/$step.reports"
      run workload "${options[@]}" --json
      run workload "${options[@]}" --training --counts "$out/$step.counts.csv"
      run workload "${options[@]}" --training --json
      run workload "${options[@]}" --dataflow ws --json
      run workload "${options[@]}" --dataflow ws --scalesim --csv "$out/$step.reports"
      run workload "${options[@]}" --dataflow os --scalesim --json
    done
  done
}

tables() {
  local part profile
  begin schema
  for part in experiment dataset network training precision accelerator energy sweep; do run schema $part; done
  begin energy-table
  for profile in horowitz45 nangate45 nangate45-glitch eyeriss-rel tpuv4i-7; do
    run energy-table --profile $profile
    run energy-table --profile $profile --bits 3,4,11 --row 16 --scratchpad-bytes 8192 --json
  done
  run energy-table --node 22 --json
}

experiments
runs
precision
explorations
traces
products
workloads
tables

rm -rf "$work"/*/found/**/checkpoints "$work"/*/found/**/timing.json
files=0
for file in "$work"/old/found/**; do [[ -f $file ]] && files=$((files + 1)); done
while IFS= read -r line; do fault "$line"; done < <(cd "$work" && diff -rq old/found new/found)
echo "$cases cases, $commands commands with each program, $files files compared: $faults differences and faults"
if [[ $faults = 0 && $files -gt $commands ]]; then
  rm -rf "$work"
  exit 0
fi
echo "diff -r $work/old/found $work/new/found shows them; N.status has the command of N.out and N.err"
exit 1
