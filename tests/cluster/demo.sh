#!/usr/bin/env bash
# Shows the whole of it on a real cluster: an Ingress without a certificate, one run, the same site by HTTPS.
# Usage: demo.sh [PATH OF kube-lego-once]. With CONTROLLER=nginx, or another that `cluster` has, that one serves the site. Run it again as often as you like; the cluster stays up in between.
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=${1:-$here/../../target/release/kube-lego-once}
host=demo.kube-lego.example

main() {
  if [[ ! -x $program ]]; then
    echo "error: there is no program at $program; build it with \`cargo build --release\`" >&2
    exit 1
  fi
  cd "$here/../.." # so that the commands below can be repeated as they are printed
  "$here/cluster" up ${CONTROLLER:+--controllers "$CONTROLLER" --front "$CONTROLLER"}
  set_environment
  remove_earlier_run

  say "A web site that wants a certificate, and has none"
  show kubectl apply -f "$site"
  sed -e "s/ADDRESS/${web%:*}/" -e "s/PORT/${web#*:}/" "$endpoints" >"$scratch/endpoints.yaml"
  show kubectl apply -f "$scratch/endpoints.yaml"
  fetch "http://$host/" --connect-to "$host:80:$address:$http_port"
  show kubectl get ingress,secret --namespace demo

  say "What a run would do"
  show kube-lego-once run --dry-run

  say "A run"
  show kube-lego-once run
  show kubectl get ingress,secret --namespace demo

  say "The site by HTTPS, checked against the CA's root"
  show curl -sSf --cacert "$directory_ca" --output "$scratch/root.pem" "$pebble_management/roots/0"
  fetch "https://$host/" --cacert "$scratch/root.pem" --connect-to "$host:443:$address:$https_port"

  say "Another run has nothing to do"
  show kube-lego-once run

  say_what_next
}

# The settings that a CronJob would carry, and the programs under their plain names.
set_environment() {
  local cluster
  cluster=$("$here/cluster" env)
  value() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$cluster" "$1"; }
  for name in class address web http_port https_port directory_ca pebble_management; do
    printf -v "$name" %s "$(value "$name")"
  done
  # Next to the cluster's logs, so that it goes away with the cluster.
  scratch=$(dirname "$(value kubeconfig)")/demo
  mkdir -p "$scratch"
  site=tests/cluster/demo/hello-world.yaml
  endpoints=tests/cluster/demo/endpoints.yaml
  if [[ $class == haproxy ]]; then endpoints=tests/cluster/demo/endpoints-haproxy.yaml; fi
  if [[ $class != contour ]]; then
    sed "s/ingressClassName: contour/ingressClassName: $class/" $site >"$scratch/hello-world.yaml"
    site=$scratch/hello-world.yaml
  fi
  trap 'echo "error: the demo stopped here; the logs of the cluster are in $(dirname "$scratch")/logs" >&2' ERR

  say "The cluster, and the CA that stands for Let's Encrypt"
  set_variable PATH "$(cd "$(dirname "$program")" && pwd):$(dirname "$(value kubectl)"):$PATH"
  set_variable KUBECONFIG "$(value kubeconfig)"
  set_variable KUBECACHEDIR "$scratch/kubectl"
  set_variable KUBE_LEGO_ONCE_DIRECTORY "$(value directory)"
  set_variable KUBE_LEGO_ONCE_CA_BUNDLE "$directory_ca"
  set_variable KUBE_LEGO_ONCE_PROFILE default
  set_variable KUBE_LEGO_ONCE_LISTEN 0.0.0.0:0
  set_variable KUBE_LEGO_ONCE_ADVERTISE_ADDRESS "$address"
  set_variable KUBE_LEGO_ONCE_RESOLVER "$(value dns)"
  set_variable KUBE_LEGO_ONCE_PROBE_HTTP_PORT "$http_port"
  set_variable KUBE_LEGO_ONCE_PROBE_HTTPS_PORT "$https_port"
  set_variable KUBE_LEGO_ONCE_HOME_NAMESPACE kube-lego
  if [[ -n ${http_proxy:-}${https_proxy:-}${HTTP_PROXY:-}${HTTPS_PROXY:-} ]]; then
    set_variable NO_PROXY "127.0.0.1,$address,$host"
    set_variable no_proxy "$NO_PROXY"
  fi
}

# Nothing here would finish the deletion of a namespace (that is a controller's work), so only what is in them goes.
remove_earlier_run() {
  local kinds=ingresses,services,endpoints,endpointslices,secrets,configmaps,leases,events
  kubectl apply -f "$here/demo/namespaces.yaml" >/dev/null
  for namespace in demo kube-lego; do
    kubectl delete "$kinds" --all --namespace "$namespace" >/dev/null
  done
}

say_what_next() {
  say "The cluster stays up. To look around:"
  printf '%s\n' "${settings[@]}"
  cat <<END
kubectl get ingress,secret,lease --all-namespaces
kubectl get events --namespace demo
kube-lego-once run --help

Its logs are in $(dirname "$scratch")/logs. To end it: make demo-down
END
}

set_variable() {
  export "$1=$2"
  settings+=("export $1=${2/%:"$original_path"/:\$PATH}")
  echo "\$ ${settings[-1]}"
}

say() {
  printf '\n%s# %s%s\n' "$bold" "$*" "$plain"
}

# Fetches a page. A site that is new, or whose certificate is, may take a moment to reach the proxy.
fetch() {
  for _ in {1..100}; do
    if curl -sf --output /dev/null "$@"; then break; fi
    sleep 0.2
  done
  show curl -sSf "$@"
}

# Prints a command as it could be typed, then runs it.
show() {
  echo "$bold\$ $*$plain"
  "$@"
}

original_path=$PATH
settings=()
bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' plain=$'\e[0m'
fi
main
