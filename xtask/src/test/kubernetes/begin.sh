# What checks find: the program, first in PATH as `resview`, and the repository.
#
# $1: the program; $2: the root of the repository; $3: the image of the installer, where there is a node.
program=$1 root=$2 program_image=${3-}
mkdir "$work/bin" && cp "$program" "$work/bin/resview" && PATH=$work/bin:$PATH
trap end EXIT
end() {
    for name in "${daemons[@]}"; do end_program "$name"; done
    take_down
    clean_up
} >/dev/null 2>&1
# What else checks have begun, by the names that they gave.
daemons=(resview webhook)
# What is started, for all checks: says what is missing if it does not start.
set_up() { # COMMAND
    clean_up >/dev/null 2>&1
    # Not in the check: the shell that it runs in would not be moved.
    enter_own_cgroup
    check "$1" starts "$@" && [ $failed = 0 ] && return
    tail -n 5 "$work"/*.log
    exit 1
}
