# Runs in mount and network namespaces of its own, unless the machine is there for nothing else. The pid
# namespace is the machine's, as the daemon wants it.
#
# $1: an empty directory; $2: a name for its cgroups; $3: the root of containers, as a tar archive, where
# there are any. The rest is what this script is about.
set -u
work=$1 place=$2 image=$3
shift 3
# An emulated machine takes minutes for what takes seconds otherwise; this only bounds.
# shellcheck disable=SC2034 # by wait_for
tries=3000
