#!/usr/bin/env bash
# Two teams share 64 GPUs: see what Aliquot does, and why.
#
#   aliquot up --fleet fleets/racks.yaml    in one terminal
#   export KUBECONFIG=...                   as it prints, in another, and there:
#   examples/teams/follow.sh                Enter goes on to the next step
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

say() { printf '\n== %s\n' "$*"; }
run() {
  printf '\n$ %s\n' "$*"
  "$@"
}
next() {
  if [ -t 0 ]; then
    printf '\nEnter goes on. '
    read -r _
  fi
}
# wait_ready NAMESPACE JOB PODS
wait_ready() { kubectl wait -n "$1" "job/$2" --for="jsonpath={.status.ready}=$3" --timeout=90s; }
pods() {
  run kubectl get pods -n "$1" -o custom-columns='NAME:.metadata.name,STATUS:.status.phase,LEAVING:.metadata.deletionTimestamp,NODE:.spec.nodeName'
}
# Why pods of a namespace had to leave, as their owners are told.
leaving() {
  run kubectl get events -n "$1" --field-selector "reason=$2,involvedObject.kind!=Pod" \
    -o custom-columns='OWNER:.involvedObject.name,REASON:.reason,MESSAGE:.message'
}
# Until the pods of a namespace that wait were decided about; one that is placed meanwhile is not waited for long.
decided() {
  kubectl wait -n "$1" pods --field-selector status.phase=Pending \
    --for=condition=aliquot.dev/Placed=False --timeout=30s >/dev/null 2>&1 || true
}
# Why pods of a namespace wait.
waiting() {
  run kubectl get pods -n "$1" --field-selector status.phase=Pending \
    -o custom-columns='NAME:.metadata.name,REASON:.status.conditions[?(@.type=="aliquot.dev/Placed")].reason,MESSAGE:.status.conditions[?(@.type=="aliquot.dev/Placed")].message'
}

say "Two teams, vision and language, are guaranteed 32 of the 64 GPUs each. Eight nodes stand in four racks."
run kubectl apply -f "$here/00-teams.yaml"
run kubectl get nodes -L aliquot.dev/rack
next

say "Somebody of language opens a notebook with four GPUs, at low priority."
run kubectl apply -f "$here/10-notebook.yaml"
kubectl wait -n language deployment/notebook --for=condition=Available --timeout=90s
next

say "Vision trains on 16 GPUs that must be in one rack. The notebook's rack has only 12 left."
run kubectl apply -f "$here/20-training.yaml"
wait_ready vision training 4
pods vision
next

say "Vision's sweep takes whatever else is free: 60 GPUs are vision's now, 28 more than it is guaranteed."
run kubectl apply -f "$here/30-sweep.yaml"
wait_ready vision sweep 11
run aliquot get queues
next

say "Language starts a gang of seven pods with four GPUs each. It is entitled to them, so others have to leave."
run kubectl apply -f "$here/40-pretraining.yaml"
sleep 1.5
say "Seven pods of the sweep save their work and go. Until then the gang waits, and each pod of it knows where."
pods vision
waiting language
wait_ready language pretraining 7
say "All seven run. The sweep goes on with the four pods that are enough for it, and the training was left alone."
pods language
pods vision
leaving vision Reclaimed
say "The pods that the sweep's Job made anew wait, and say why."
decided vision
waiting vision
run aliquot get queues
next

say "Language needs an evaluation now. It holds its 32 GPUs, so it cannot take from vision: its own notebook goes."
run kubectl apply -f "$here/50-evaluation.yaml"
wait_ready language evaluation 1
leaving language Preempted
decided language
waiting language
notebook=$(kubectl get pods -n language -l app=notebook --field-selector status.phase=Pending -o jsonpath='{.items[0].metadata.name}')
run aliquot explain "pod/$notebook" -n language || true
next

say "When language is done, what is free goes round again: the notebook is back, and the sweep borrows."
run kubectl delete -n language job pretraining evaluation
kubectl wait -n language deployment/notebook --for=condition=Available --timeout=90s
wait_ready vision sweep 11
run aliquot get queues
next

say "Everything goes."
run kubectl delete -f "$here" --ignore-not-found --wait=true --timeout=90s
