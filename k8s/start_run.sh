#!/bin/sh
# Start the driver of a registered run as a Job: k8s/start_run.sh RUN [NAMESPACE]
# The Job is made from the suspended CronJob cisterna-driver. Asking again is harmless: while the Job lives there is one
# driver, and a finished one is replaced.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 RUN [NAMESPACE]" >&2; exit 2; }
run=$1
namespace=${2:-cisterna}
job=run-$(printf %s "$run" | tr 'A-Z_.' 'a-z--')
ended=$(kubectl -n "$namespace" get job "$job" --ignore-not-found \
  -o jsonpath='{.status.conditions[?(@.status=="True")].type}')
case " $ended " in
  *" Complete "* | *" Failed "*) kubectl -n "$namespace" delete job "$job" ;;
esac
spec=$(kubectl -n "$namespace" get cronjob cisterna-driver -o jsonpath='{.spec.jobTemplate.spec}')
printf '{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "%s", "labels": {"%s": "%s"}}, "spec": %s}' \
  "$job" app.kubernetes.io/name cisterna-driver "$spec" |
  kubectl set env --local -f - CISTERNA_RUN="$run" -o json |
  kubectl -n "$namespace" apply -f -
